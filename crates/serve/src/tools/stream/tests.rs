//! Texts in pieces, and the calls that come out of them.

use proptest::prelude::*;

use super::*;

/// What a text comes to: its content, and the name and arguments of each call.
fn read(form: CallForm, pieces: &[&str]) -> (String, Vec<(String, String)>) {
    let mut stream = ToolStream::new(ToolSyntax::of_form(form));
    let mut deltas: Vec<Delta> = pieces.iter().flat_map(|piece| stream.push(piece)).collect();
    deltas.extend(stream.finish());
    let (mut text, mut calls) = (String::new(), Vec::new());
    for delta in deltas {
        match delta {
            Delta::Content(more) => text.push_str(&more),
            Delta::Call { index, id, name } => {
                assert_eq!(index, calls.len());
                assert!(id.starts_with("call_") && id.len() == 29, "{id}");
                calls.push((name, String::new()));
            }
            Delta::Arguments { index, fragment } => {
                assert_eq!(index, calls.len() - 1);
                calls[index].1.push_str(&fragment);
            }
        }
    }
    assert_eq!(stream.has_calls(), !calls.is_empty());
    (text, calls)
}

#[track_caller]
fn check(form: CallForm, text: &str, content: &str, calls: &[(&str, &str)]) {
    let whole = read(form, &[text]);
    let got: Vec<(&str, &str)> =
        whole.1.iter().map(|(name, given)| (name.as_str(), given.as_str())).collect();
    assert_eq!((whole.0.as_str(), &got[..]), (content, calls), "{text:?}");
    let letters: Vec<String> = text.chars().map(String::from).collect();
    let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
    assert_eq!(read(form, &letters), whole, "letter by letter: {text:?}");
}

#[test]
fn calls_between_hermes_marks_are_calls() {
    let check = |text: &str, content, calls: &[_]| check(CallForm::Hermes, text, content, calls);
    let one = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": [1, \"}\\\"\"]}}\n</tool_call>";
    let arguments = "{\"x\": [1, \"}\\\"\"]}";
    check(one, "", &[("f", arguments)]);
    check(&format!("  \n{one}\n"), "", &[("f", arguments)]);
    check(&format!("I look.\n{one}\n{one}"), "I look.\n", &[("f", arguments), ("f", arguments)]);
    check(&format!("{one} Done."), " Done.", &[("f", arguments)]);
    check("<tool_call>{\"arguments\": {\"x\": 1}, \"name\": \"f\"}</tool_call>", "", &[("f", "{\"x\": 1}")]);
    check("<tool_call>{\"name\": \"f\"}</tool_call>", "", &[("f", "{}")]);
    check(
        "<tool_call>{\"name\":\"f\",\"arguments\":\"{\\\"x\\\": 1}\"}</tool_call>",
        "",
        &[("f", "{\"x\": 1}")],
    );
    check("<tool_call>{\"name\":\"f\",\"id\":7,\"arguments\":null}</tool_call>", "", &[("f", "null")]);
}

#[test]
fn what_is_no_call_is_content() {
    let check = |text: &str| check(CallForm::Hermes, text, text, &[]);
    for text in [
        "",
        "plain",
        " \n",
        "a < b <tool",
        "<tool_calls> are things",
        "<tool_call>no</tool_call>",
        "<tool_call>{\"name\": 7}</tool_call>",
        "<tool_call>{\"nom\": \"f\"}</tool_call>",
        "<tool_call>\n{\"na",
        "{\"name\": \"f\", \"arguments\": {}}",
    ] {
        check(text);
    }
}

#[test]
fn a_call_that_is_cut_off_keeps_what_it_has() {
    let text = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": \"ab";
    check(CallForm::Hermes, text, "", &[("f", "{\"x\": \"ab")]);
}

#[test]
fn arguments_come_as_they_are_written() {
    let mut stream = ToolStream::new(ToolSyntax::of_form(CallForm::Hermes));
    let begun = stream.push("<tool_call>{\"name\": \"f\"");
    assert!(matches!(&begun[..], [Delta::Call { index: 0, name, .. }] if name == "f"), "{begun:?}");
    let fragment = |text: &str| vec![Delta::Arguments { index: 0, fragment: text.to_owned() }];
    assert_eq!(stream.push(", \"arguments\": {\"x\""), fragment("{\"x\""));
    assert_eq!(stream.push(": 1"), fragment(": 1"));
    assert_eq!(stream.push("}}</tool_"), fragment("}"));
    assert_eq!(stream.push("call>"), []);
    assert_eq!(stream.finish(), []);
}

#[test]
fn a_llama_answer_that_is_an_object_is_a_call() {
    let check = |text: &str, content, calls: &[_]| check(CallForm::Llama, text, content, calls);
    check("{\"name\": \"f\", \"parameters\": {\"x\": 1}}", "", &[("f", "{\"x\": 1}")]);
    check("<|python_tag|>{\"name\": \"f\", \"parameters\": {}}", "", &[("f", "{}")]);
    check(
        "{\"name\": \"f\", \"parameters\": {}}; {\"name\": \"g\", \"parameters\": {}}",
        "",
        &[("f", "{}"), ("g", "{}")],
    );
    check("{\"answer\": 7}", "{\"answer\": 7}", &[]);
    check("So {\"name\": \"f\"}", "So {\"name\": \"f\"}", &[]);
}

#[test]
fn a_mistral_list_is_calls() {
    let check = |text: &str, content, calls: &[_]| check(CallForm::Mistral, text, content, calls);
    let list = "[{\"name\": \"f\", \"arguments\": {}}, {\"name\": \"g\", \"arguments\": {\"x\": 1}}]";
    let calls = [("f", "{}"), ("g", "{\"x\": 1}")];
    check(list, "", &calls);
    check(&format!("[TOOL_CALLS] {list}"), "", &calls);
    check(&format!("I look. [TOOL_CALLS]{list}"), "I look. ", &calls);
    check("[1, 2]", "[1, 2]", &[]);
}

#[test]
fn a_mark_that_texts_do_not_show_begins_calls() {
    let mut stream = ToolStream::new(ToolSyntax::with_mark_token(CallForm::Mistral, 9));
    assert_eq!(stream.token(8), []);
    assert_eq!(stream.push("So [T"), [Delta::Content("So ".to_owned())]);
    assert_eq!(stream.token(9), [Delta::Content("[T".to_owned())]);
    let begun = stream.push("[{\"name\": \"f\", \"arguments\": {}}]");
    assert!(
        matches!(&begun[..], [Delta::Call { name, .. }, Delta::Arguments { .. }] if name == "f"),
        "{begun:?}"
    );
    assert_eq!(stream.finish(), []);
}

#[test]
fn arguments_stand_under_the_models_own_key() {
    let hermes = |object: &str, arguments: &str| {
        check(CallForm::Hermes, &format!("<tool_call>{object}</tool_call>"), "", &[("f", arguments)]);
    };
    hermes(r#"{"name": "f", "arguments": {"a": 1}, "parameters": {"b": 2}}"#, r#"{"a": 1}"#);
    hermes(r#"{"name": "f", "parameters": {"b": 2}, "arguments": {"a": 1}}"#, r#"{"a": 1}"#);
    hermes(r#"{"parameters": {"b": 2}, "name": "f"}"#, r#"{"b": 2}"#);
    hermes(r#"{"name": "f", "parameters": "{\"b\": 2}"}"#, r#"{"b": 2}"#);
    hermes(r#"{"name": "f", "arguments": {"a": 1}, "arguments": {"a": 2}}"#, r#"{"a": 1}"#);
    let llama = r#"{"name": "f", "arguments": {"a": 1}, "parameters": {"b": 2}}"#;
    check(CallForm::Llama, llama, "", &[("f", r#"{"b": 2}"#)]);
    check(CallForm::Llama, r#"{"name": "f", "arguments": {"a": 1}}"#, "", &[("f", r#"{"a": 1}"#)]);
}

#[test]
fn white_space_before_what_is_no_call_is_content() {
    for text in [" \n<tool_call>no", "\n<tool_call>{\"name\": 7}", " \n<tool", " < \n"] {
        check(CallForm::Hermes, text, text, &[]);
    }
    check(CallForm::Llama, "\n {\"answer\": 7}", "\n {\"answer\": 7}", &[]);
}

#[test]
fn much_white_space_takes_no_time() {
    // Read in the square of its length, this would take minutes.
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);
    let started = std::time::Instant::now();
    let blank = " \n".repeat(500_000);
    let call = "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>";
    for text in
        [format!("{blank}{call}"), format!("{call}{blank}{call}"), format!("{call}{blank}<tool{blank}")]
    {
        let (_, calls) = read(CallForm::Hermes, &[&text]);
        assert!(!calls.is_empty());
        assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    }
}

proptest! {
    #[test]
    fn pieces_do_not_matter(
        parts in proptest::collection::vec(prop_oneof![
            Just("<tool_call>"), Just("</tool_call>"), Just("{\"name\": \"f\", \"arguments\": "), Just("{\"x\": 1}"),
            Just("}"), Just("["), Just("]"), Just("\n"), Just("<tool"), Just("[TOOL_CALLS]"), Just("é"), Just("\\\""),
            Just("\""), Just(", "), Just("text ")
        ], 0..12),
        cuts in proptest::collection::vec(0usize..200, 0..6),
    ) {
        let text = parts.concat();
        for form in [CallForm::Hermes, CallForm::Llama, CallForm::Mistral] {
            let mut cuts: Vec<usize> =
                cuts.iter().copied().filter(|cut| *cut <= text.len() && text.is_char_boundary(*cut)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).map(|ends| &text[ends[0]..ends[1]]).collect();
            prop_assert_eq!(read(form, &pieces), read(form, &[&text]));
        }
    }

    #[test]
    fn without_a_call_nothing_is_lost(text in "[a-z<_>{}\\[\\]\" \n]{0,40}") {
        for form in [CallForm::Hermes, CallForm::Llama, CallForm::Mistral] {
            let (content, calls) = read(form, &[&text]);
            if calls.is_empty() {
                prop_assert_eq!(content, text.clone());
            }
        }
    }
}
