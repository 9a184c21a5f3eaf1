//! `tercet chat`: what it answers, what is typed beside messages, and which models it refuses.

mod command;
#[path = "../../tercet/tests/skipping/mod.rs"]
mod skipping;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use command::{Outcome, command, conversing_model as model, outcome, tercet};

/// How long a terminal is listened to before the test gives up.
const PATIENCE: Duration = Duration::from_secs(120);

/// A conversation over a pipe: short answers, always the same.
fn chat(model: &Path, arguments: &[&str], stdin: &str) -> Outcome {
    let mut command = command();
    command.arg("chat").arg(model).args(["--temp", "0", "-n", "12", "-r", "\n"]).args(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// What `tercet run` makes of a conversation that is written out, without its last line end.
fn continued(model: &Path, prompt: &str) -> String {
    let arguments = ["--temp", "0", "-n", "12", "-r", "\n", "--no-display-prompt"];
    let mut command = command();
    command.args(["run", "-m"]).arg(model).args(["-p", prompt]).args(arguments);
    outcome(&mut command).success().stdout.trim_end_matches('\n').to_owned()
}

#[test]
fn answers_are_those_of_the_whole_conversation_computed_anew() {
    let model = model("chat-answers");
    let first = continued(&model, "system: Tell stories.\nuser: Hello\nassistant:");
    let talk = format!(
        "system: Tell stories.\nuser: Hello\nassistant: {}\nuser: And then?\nassistant:",
        first.trim()
    );
    let second = continued(&model, &talk);
    let found = chat(&model, &["-sys", "Tell stories.", "--verbose"], "Hello\nAnd then?\n").success();
    assert_eq!(found.stdout, format!("{first}\n{second}\n"));
    let kept = |line: &str| line.rsplit_once(" · ")?.1.split(' ').next()?.parse::<usize>().ok();
    let kept: Vec<usize> = found.stderr.lines().filter_map(kept).collect();
    assert!(kept.len() == 2 && kept[0] == 0 && kept[1] > 8, "tokens kept: {kept:?} in {}", found.stderr);
}

#[test]
fn one_thing_is_asked_and_answered() {
    let model = model("chat-once");
    let want = continued(&model, "user: Hello\nassistant:");
    assert_eq!(chat(&model, &["-p", "Hello"], "").success().stdout, format!("{want}\n"));
    let json = chat(&model, &["-p", "Hello", "--json"], "").success().json();
    assert_eq!(json["text"], want);
    assert!(json["prompt"].as_str().unwrap().ends_with("user: Hello\nassistant:"), "{json}");
    assert_eq!(json["timings"]["predicted_n"], json["tokens"].as_array().unwrap().len());
}

#[test]
fn commands_change_the_conversation() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("talk.json");
    let model = model("chat-commands");
    let alone = continued(&model, "user: Hello\nassistant:");
    let save = format!("/save {}\n", file.display());
    // Each leaves nothing of what was said before.
    for before in
        ["Good day\n/clear\n", "Good day\n/undo\n", "/system Be brief.\nGood day\n/clear\n/system\n", "\n"]
    {
        let found = chat(&model, &[], &format!("{before}Hello\n{save}")).success();
        assert!(found.stdout.ends_with(&format!("{alone}\n")), "{before}: {}", found.stdout);
        let saved: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let saved = saved["messages"].as_array().unwrap();
        assert_eq!(saved.len(), 2, "{before}");
        assert_eq!(saved[0], serde_json::json!({"role": "user", "content": "Hello"}));
        assert_eq!((&saved[1]["role"], &saved[1]["content"]), (&"assistant".into(), &alone.as_str().into()));
    }
    let again = chat(&model, &[], "Hello\n/regenerate\n/bye\nHello\n").success();
    assert_eq!(again.stdout, format!("{alone}\n{alone}\n"), "the likeliest tokens are the same");
    let on = chat(&model, &[], &format!("/load {}\nAnd then?\n", file.display())).success();
    let want = format!("user: Hello\nassistant: {}\nuser: And then?\nassistant:", alone.trim());
    assert_eq!(on.stdout, format!("{}\n", continued(&model, &want)));
    let set = chat(&model, &[], "/set n_predict 1\n/show\n/help\nHello\n").success();
    for want in ["n_predict         1\n", "tokens            0 of 512\n", "/regenerate"] {
        assert!(set.stderr.contains(want), "{}", set.stderr);
    }
    assert!(set.stdout.len() < alone.len(), "{}", set.stdout);
    for (stdin, want) in [
        ("/set temp 0.2\n", "temp is 0.2\n"),
        ("/set parameter temperature 0.2\n", "temperature is 0.2\n"),
        ("/system Be brief.\n/clear\n", "told first from now on\nbegun anew; what is told first stays\n"),
        ("/system\n/clear\n", "nothing is told first\nbegun anew\n"),
        ("/set n_predict 1\nHello\n", "the answer is cut off after 1 token, as `n_predict` says\n"),
        ("Hello\n/undo\n", "the last message and its answer are taken back: 0 messages left\n"),
    ] {
        let found = chat(&model, &[], stdin).success();
        assert!(found.stderr.ends_with(want), "{stdin}: {}", found.stderr);
    }
    let cleared = chat(&model, &[], "Hello\n/show\n/clear\n/show\n").success();
    let shown: Vec<&str> = cleared.stderr.lines().filter(|line| line.starts_with("tokens ")).collect();
    assert_eq!((shown.len(), shown[1]), (2, "tokens            0 of 512"), "{shown:?}");
    assert_ne!(shown[0], shown[1]);
}

#[test]
fn messages_of_several_lines_are_one() {
    let model = model("chat-lines");
    let want = continued(&model, "user: One\nTwo\nassistant:");
    for lines in ["\"\"\"One\nTwo\"\"\"\n", "One\\\nTwo\n", "\"\"\"\nOne\nTwo\n\"\"\"\n"] {
        assert_eq!(chat(&model, &[], lines).success().stdout, format!("{want}\n"), "{lines}");
    }
}

#[test]
fn what_cannot_be_done_over_a_pipe_is_a_failure() {
    let model = model("chat-failures");
    for (arguments, stdin, code, want) in [
        (&[][..], "/dance\n", 1, "found no command `/dance`"),
        (&[], "/load /no/such/file\n", 1, "/no/such/file: cannot be read"),
        (&[], "/save /no/such/file\n", 1, "/no/such/file: cannot be written: No such file or directory"),
        (&[], "/load Cargo.toml\n", 1, "found no JSON, expected a conversation as `/save` writes it"),
        (&[], "/set num_ctx 64\n", 1, "`num_ctx` is set at the start: `tercet chat -c 64`"),
        (&[], "/undo\n", 1, "there is nothing to undo"),
        (&[], "/set temp hot\n", 1, "`temp` is `hot`, expected a number"),
        (&["-c", "8"], "Once upon a time there was a little dog\n", 1, "expected fewer than 8, the context"),
        // Nothing can be typed there.
        (
            &["-c", "2", "-p", "Hello there"],
            "",
            1,
            "\nhint: shorten the conversation, or raise `--ctx-size`: the model was trained for 512 positions\n",
        ),
        (&["--json"], "", 2, "--prompt"),
        (&["--chat-template-file", "/no/such/file"], "", 3, "/no/such/file: cannot be read"),
    ] {
        let found = chat(&model, arguments, stdin);
        assert_eq!(found.code, Some(code), "{arguments:?} {stdin}: {}", found.stderr);
        assert!(found.stderr.contains(want), "`{want}` is not in `{}`", found.stderr);
    }
}

#[test]
fn a_template_that_refuses_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.jinja");
    let template = "{{ raise_exception('no ' + messages[0].role) }}";
    std::fs::write(&file, template).unwrap();
    let arguments = ["chat", "-p", "a", "--chat-template-file", file.to_str().unwrap()];
    let found = tercet(arguments);
    assert_eq!(found.code, Some(1));
    assert!(found.stderr.contains("the chat template refuses the conversation: no user"), "{}", found.stderr);
    std::fs::write(&file, "{% for %}").unwrap();
    let found = tercet(arguments);
    assert_eq!(found.code, Some(3));
    assert!(found.stderr.contains("t.jinja: the chat template is wrong at line 1"), "{}", found.stderr);
}

#[test]
fn the_template_of_the_example_refuses_other_roles() {
    let folder = tempfile::tempdir().unwrap();
    let talk = folder.path().join("talk.json");
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/chat/template.jinja");
    let model = model("chat-example-template");
    for (role, want) in [
        ("assistant", None),
        ("tool", Some("found a message of `tool`, expected `system`, `user` or `assistant`")),
    ] {
        std::fs::write(&talk, format!(r#"[{{"role": "{role}", "content": "Hello"}}]"#)).unwrap();
        let stdin = format!("/load {}\nHello\n", talk.display());
        let found = chat(&model, &["--chat-template-file", template.to_str().unwrap()], &stdin);
        assert_eq!(found.code, Some(i32::from(want.is_some())), "{role}: {}", found.stderr);
        if let Some(want) = want {
            let want = format!("error: the chat template refuses the conversation: {want}\n");
            assert!(found.stderr.contains(&want), "{}", found.stderr);
        }
    }
}

#[test]
fn a_base_model_does_not_converse() {
    let model = model("chat-base");
    std::fs::write(model.join("tokenizer_config.json"), "{}").unwrap();
    let found = tercet(["chat".as_ref(), model.as_os_str()]);
    assert_eq!(found.failure(), Some(2));
    let model = model.display();
    assert_eq!(
        found.stderr,
        format!(
            "\
error: {model}: found no chat template, so it continues text and does not converse
hint: `tercet run -m {model} -p TEXT` continues a text; `--chat-template-file FILE` gives it a template
"
        )
    );
}

/// A conversation in a terminal, which `script` makes.
struct Terminal {
    child: Child,
    heard: std::sync::mpsc::Receiver<u8>,
    code: PathBuf,
}

impl Terminal {
    /// None where there is no `script`.
    fn open(model: &Path, cache: &Path, context: &str) -> Option<Self> {
        // On a busy machine `script` may end before it knows how its command did, and before it has
        // read all that the command wrote: the shell tells by a file. The terminal's Ctrl-C comes to
        // the shell as well, and some end by it unless they have a trap.
        let line = "trap : INT; \"$PROGRAM\" chat \"$MODEL\" --temp 0 -c \"$CONTEXT\"; echo $? >\"$CODE\"";
        let code = cache.join("ended-with");
        let mut command = Command::new("script");
        command.args(["-q", "-c", line, "/dev/null"]);
        command.env("PROGRAM", env!("CARGO_BIN_EXE_tercet")).env("MODEL", model).env("CODE", &code);
        command.env("CONTEXT", context);
        command.env("SHELL", "/bin/sh").env("TERM", "xterm");
        command.env("XDG_CACHE_HOME", cache).env("HF_HUB_OFFLINE", "1");
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = child.ok()?;
        let mut stdout = child.stdout.take().unwrap();
        let (send, heard) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut byte = [0];
            while stdout.read_exact(&mut byte).is_ok() && send.send(byte[0]).is_ok() {}
        });
        Some(Terminal { child, heard, code })
    }

    fn type_in(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()).unwrap();
    }

    /// Waits until the terminal shows this after what was waited for last; what it shows up to there.
    fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut bytes = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(byte) = self.heard.recv_timeout(left) else {
                panic!("`{text}` is not in `{}`", String::from_utf8_lossy(&bytes));
            };
            bytes.push(byte);
            if bytes.ends_with(text.as_bytes()) {
                return String::from_utf8_lossy(&bytes).into_owned();
            }
        }
    }

    /// The line with the exit code of the conversation, once it has ended.
    fn ended_with(&self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match std::fs::read_to_string(&self.code) {
                Ok(code) if code.ends_with('\n') => return code,
                _ => assert!(Instant::now() < deadline, "the conversation has not ended"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn ctrl_c_in_a_terminal_stops_the_answer_and_not_the_program() {
    let cache = tempfile::tempdir().unwrap();
    let model = model("chat-terminal");
    // No token ends an answer, so it is as long as the context, and a busy machine is not too late.
    for file in ["config.json", "generation_config.json"] {
        let file = model.join(file);
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        config.as_object_mut().unwrap().remove("eos_token_id");
        std::fs::write(&file, config.to_string()).unwrap();
    }
    let Some(mut terminal) = Terminal::open(&model, cache.path(), "16384") else {
        let test = "ctrl_c_in_a_terminal_stops_the_answer_and_not_the_program";
        return skipping::skip(test, "there is no `script` to make a terminal");
    };
    terminal.wait_for(">>> ");
    terminal.type_in("Hello\r");
    terminal.wait_for("Hello");
    terminal.wait_for(" ");
    terminal.type_in("\x03");
    let answer = terminal.wait_for(">>> ");
    assert!(!answer.contains("the context is full"), "nothing stopped it: {answer}");
    terminal.type_in("\x03");
    terminal.wait_for("Ctrl-D or /bye ends the conversation");
    terminal.wait_for(">>> ");
    terminal.type_in("\x04");
    assert_eq!(terminal.ended_with(), "0\n");
    let history = std::fs::read_to_string(cache.path().join("tercet/chat_history.txt")).unwrap();
    assert!(history.contains("Hello"), "{history}");
}

#[test]
fn a_message_that_is_too_long_is_taken_back_with_a_word() {
    let cache = tempfile::tempdir().unwrap();
    let Some(mut terminal) = Terminal::open(&model("chat-too-long"), cache.path(), "8") else {
        let test = "a_message_that_is_too_long_is_taken_back_with_a_word";
        return skipping::skip(test, "there is no `script` to make a terminal");
    };
    terminal.wait_for(">>> ");
    terminal.type_in("Once upon a time there was a little dog\r");
    terminal.wait_for("expected fewer than 8, the context");
    terminal.wait_for("/clear begins anew, /undo takes the last turn back, or raise `--ctx-size`");
    terminal.wait_for("the message was taken back");
    terminal.wait_for(">>> ");
    terminal.type_in("/regenerate\r");
    terminal.wait_for("there is nothing to answer");
    terminal.wait_for(">>> ");
    terminal.type_in("/bye\r");
    assert_eq!(terminal.ended_with(), "0\n");
}
