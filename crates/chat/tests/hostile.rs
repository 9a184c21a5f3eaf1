//! A hostile template is an error, in bounded time and memory, and never the end of the process.

use std::time::{Duration, Instant};

use serde_json::{Map, json};
use tercet_chat::{Clock, Conversation, SOURCE_MAX_BYTES, SpecialTokens, TemplateError, Templates};

/// What a machine that does much else may need for the work that a template is allowed.
const PATIENCE: Duration = Duration::from_secs(60);

fn render(template: &str) -> Result<String, TemplateError> {
    let templates = Templates::of_text("t", template, SpecialTokens::new("<s>", "</s>"))?;
    templates.render(&Conversation {
        messages: &[json!({"role": "user", "content": "a"})],
        tools: &[],
        add_generation_prompt: true,
        continue_final_message: false,
        variables: &Map::new(),
    })
}

/// The error of a template, which must come in time.
fn refusal(what: &str, template: &str) -> TemplateError {
    let started = Instant::now();
    let found = render(template).map(|text| text.len());
    assert!(started.elapsed() < PATIENCE, "{what}: {:?}", started.elapsed());
    found.expect_err(what)
}

/// Checks that a template is none.
fn check_wrong(what: &str, template: &str) {
    let error = refusal(what, template);
    let is_too_long = template.len() > SOURCE_MAX_BYTES && matches!(error, TemplateError::TooLong { .. });
    assert!(is_too_long || matches!(error, TemplateError::Wrong { .. }), "{what}: {error}");
}

/// Checks that a template fails while it renders, for this reason.
fn check_fails(what: &str, template: &str, why: &str) {
    let error = refusal(what, template);
    assert!(matches!(error, TemplateError::Failed { .. }), "{what}: {error}");
    assert!(error.to_string().contains(why), "{what}: {error}, expected `{why}`");
}

#[test]
fn deep_nesting_is_refused() {
    for depth in [6_000, 1_000_000] {
        for (open, close) in
            [("(", ")"), ("[", "]"), ("{1:", "}"), ("f(", ")"), ("a[", "]"), ("1 if ", " else 1")]
        {
            let (open, close) = (open.repeat(depth), close.repeat(depth));
            check_wrong("an expression", &format!("{{{{ {open}1{close} }}}}"));
            check_wrong("an unclosed expression", &format!("{{{{ {open}"));
        }
        let (open, close) = ("{% if 1 %}".repeat(depth), "{% endif %}".repeat(depth));
        check_wrong("blocks", &format!("{open}{close}"));
    }
}

#[test]
fn long_chains_of_operators_are_no_end_of_the_process() {
    // Each is as long as a tag may be, and may be refused or not.
    for link in ["{% elif 1 %}", "{% for i in x %}", "{{ 1 }}"] {
        let links = link.repeat(1_000_000 / link.len());
        let _ = render(&format!("{{% if 0 %}}{links}{{% endif %}}"));
    }
    for start in ["-", "not ", "- -"] {
        let _ = render(&format!("{{{{ {}1 }}}}", start.repeat(8_000 / start.len())));
    }
    for link in
        ["+1", "~1", "*1", " and 1", " or 1", "|trim", ".a", "[0]", "()", " if 1 else 1", " is string"]
    {
        check_wrong("a long tag", &format!("{{{{ 1{} }}}}", link.repeat(1_000_000 / link.len())));
        let links = link.repeat(8_000 / link.len());
        let started = Instant::now();
        let _ = render(&format!("{{{{ 1{links} }}}}"));
        assert!(started.elapsed() < PATIENCE, "`{link}`: {:?}", started.elapsed());
    }
}

#[test]
fn bombs_are_refused() {
    for (what, template, why) in [
        (
            "loops",
            "{% for a in range(10000) %}{% for b in range(10000) %}{% for c in range(10000) %}{% endfor %}{% endfor %}{% endfor %}",
            "out of fuel",
        ),
        ("a long range", "{% for a in range(10**9) %}{% endfor %}", "too many elements"),
        (
            "doubled strings",
            "{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(100) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
            "out of fuel",
        ),
        ("a repeated string", "{{ 'a' * 10**9 }}", "out of fuel"),
        ("a repeated list", "{{ ([0] * 10**9) | length }}", "too large"),
        ("a replaced string", "{% set s = 'a' * 1000000 %}{{ s.replace('a', s) }}", "out of fuel"),
        ("a joined list", "{% set s = 'a' * 10000000 %}{{ s.join(range(100000) | list) }}", "out of fuel"),
        (
            "a list as JSON",
            "{% set s = 'a' * 10000000 %}{% set l = [s] * 100000 %}{{ (l | tojson) | length }}",
            "out of fuel",
        ),
        ("an indent", "{{ [[1]] | tojson(indent=10**12) }}", "out of fuel"),
        (
            "separators",
            "{% set s = 'a' * 10000000 %}{{ (range(10000) | list | tojson(separators=[s, ':'])) | length }}",
            "out of fuel",
        ),
        (
            "a separator of keys",
            "{% set s = 'a' * 10000000 %}{{ ([{1: 2}] * 10000) | tojson(separators=[',', s]) | length }}",
            "out of fuel",
        ),
        ("a missing item", "{% set s = 'a' * 10000000 %}{{ [1].index([s] * 100000) }}", "not in the list"),
        ("a power", "{{ 10 ** 10 ** 10 }}", "unable to calculate"),
        (
            "a macro that calls itself",
            "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
            "recursion limit",
        ),
        ("a template that includes itself", "{% include 'default' %}", "could not render include"),
        ("a long text", "{% for i in range(100000) %}{{ 'a' * 100 }}{% endfor %}", "bytes of text"),
        ("a width", "{{ '%0999999999d' | format(1) }}", "out of fuel"),
        ("a width of a field", "{{ '{:>99999999999999}'.format(1) }}", "characters, expected at most"),
        (
            "a split",
            "{% for i in range(100000) %}{% set l = ('a' * 100000).rsplit('a') %}{% endfor %}",
            "out of fuel",
        ),
    ] {
        check_fails(what, template, why);
    }
}

#[test]
fn what_the_engine_does_not_pay_for_ends_by_time() {
    for (what, template) in [
        (
            "doubled lists",
            "{% set ns = namespace(s=[1, 2]) %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s|length }}{{ ns.s }}",
        ),
        ("a list as a text", "{% set s = 'a' * 10000000 %}{% set l = [s] * 100000 %}{{ (l ~ '') | length }}"),
    ] {
        let error = refusal(what, template);
        // On a fast machine the fuel may end first; on a slow one the rendering before is still at work.
        let is_of_limits = matches!(error, TemplateError::Failed { .. } | TemplateError::Busy { .. });
        assert!(is_of_limits, "{what}: {error}");
        let why = error.to_string();
        assert!(why.contains("out of fuel") || why.contains("to no end"), "{what}: {why}");
    }
}

#[test]
fn a_deep_value_is_no_end_of_the_process() {
    let nested = |inner: &str| {
        format!(
            "{{% set ns = namespace(x=[]) %}}{{% for i in range(1000) %}}{{% for j in range(1000) %}}\
             {{% set ns.x = {inner} %}}{{% endfor %}}{{% endfor %}}{{{{ ns.x | tojson }}}}"
        )
    };
    for inner in ["[ns.x]", "{'a': ns.x}", "(ns.x,)", "namespace(x=ns.x)", "ns.x + [1]", "(ns.x | list)[:]"] {
        let started = Instant::now();
        let _ = render(&nested(inner));
        assert!(started.elapsed() < PATIENCE, "`{inner}`: {:?}", started.elapsed());
    }
}

#[test]
fn a_template_reaches_nothing() {
    for (template, why) in [
        ("{{ debug() }}", "debug is unknown"),
        ("{% include '/etc/passwd' %}", "non-existing template"),
        ("{% import 'x' as x %}", "non-existing template"),
        ("{{ self.__class__.x }}", "undefined value"),
    ] {
        check_fails(template, template, why);
    }
}

#[test]
fn a_template_that_is_too_long_is_refused() {
    let error = render(&"a".repeat((1 << 20) + 1)).unwrap_err();
    assert!(matches!(error, TemplateError::TooLong { found: 1_048_577, limit: 1_048_576, .. }), "{error}");
}

#[test]
fn a_template_asks_for_the_date_in_vain_where_there_is_none() {
    let tokens = SpecialTokens::new("", "");
    let templates =
        Templates::of_text("t", "{{ strftime_now('%Y') }}", tokens).unwrap().with_clock(Clock::Refused);
    let error = templates.render(&Conversation {
        messages: &[json!({"role": "user", "content": "a"})],
        tools: &[],
        add_generation_prompt: true,
        continue_final_message: false,
        variables: &Map::new(),
    });
    assert!(error.unwrap_err().to_string().contains("`strftime_now` is not to be had"));
}
