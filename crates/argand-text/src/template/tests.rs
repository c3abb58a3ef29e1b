use super::*;
use serde_json::json;
use std::time::{Duration, UNIX_EPOCH};

fn template(source: &str) -> ChatTemplate {
    ChatTemplate::new(source, SpecialTokens::new(Some("<s>"), Some("</s>"))).unwrap()
}

fn render(source: &str) -> String {
    let options = RenderOptions {
        add_generation_prompt: true,
        tools: Some(vec![json!({"name": "f", "about": "<é> & \"q\"", "list": [1, 2.0, null, true], "none": {}})]),
        extra: Map::from_iter([("enable_thinking".to_owned(), json!(false))]),
        now: Some(UNIX_EPOCH + Duration::from_secs(1_740_830_400)),
        ..RenderOptions::default()
    };
    let messages = [Message::new("user", " Hi </think> you "), Message::new("assistant", "Ho")];
    template(source).render(&messages, &options).unwrap()
}

#[test]
fn blocks_are_trimmed_on_both_sides() {
    assert_eq!(render("  {% if true %}\n  a\n  {% endif %}\nb\n"), "  a\nb");
}

#[test]
fn variables_are_those_of_the_reference() {
    assert_eq!(
        render("{{ bos_token }}{{ messages[0].role }}{{ add_generation_prompt }}{{ eos_token }}"),
        "<s>userTrue</s>"
    );
    assert_eq!(
        render("{{ enable_thinking is false }} {{ documents is none }} {{ missing is defined }}"),
        "True True False"
    );
}

#[test]
fn json_is_that_of_python() {
    assert_eq!(
        render("{{ tools[0] | tojson }}"),
        r#"{"name": "f", "about": "<é> & \"q\"", "list": [1, 2.0, null, true], "none": {}}"#
    );
    assert_eq!(render("{{ tools[0].list | tojson(indent=2) }}"), "[\n  1,\n  2.0,\n  null,\n  true\n]");
    assert_eq!(
        render("{{ {'b': 'é😀', 'a': 1} | tojson(ensure_ascii=True, sort_keys=True) }}"),
        r#"{"a": 1, "b": "\u00e9\ud83d\ude00"}"#
    );
    assert_eq!(render("{{ [1, {'a': 2}] | tojson(separators=(',', ':')) }}"), r#"[1,{"a":2}]"#);
    assert!(template("{{ missing | tojson }}").render(&[], &RenderOptions::default()).is_err());
}

#[test]
fn python_methods_work() {
    assert_eq!(render("{{ messages[0].content.split('</think>')[-1].strip() }}"), "you");
    assert_eq!(
        render("{{ 'abc'.removeprefix('a').removesuffix('c') }}|{{ 'k=v=w'.partition('=') | join(',') }}"),
        "b|k,=,v=w"
    );
    assert_eq!(render("{% for k, v in tools[0].items() %}{{ k }},{% endfor %}"), "name,about,list,none,");
    assert_eq!(render("{% for m in messages[::-1] %}{{ m.role[0] }}{% endfor %}"), "au");
    assert_eq!(render("{{ none is iterable }} {{ 'a' is iterable }} {{ missing is iterable }}"), "False True True");
}

#[test]
fn loops_scopes_and_namespaces_work() {
    let source = "{% set ns = namespace(n=0) %}{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}\
                  {% if i == 5 %}{% break %}{% endif %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}";
    assert_eq!(render(source), "8");
    assert_eq!(render("a{% generation %}b{% set x = 1 %}{% endgeneration %}{{ x is defined }}"), "abFalse");
    assert_eq!(render("{{ strftime_now('%d %B %Y %H:%M') }}"), "01 March 2025 12:00");
}

#[test]
fn a_refusal_is_the_templates_own_words_and_line() {
    let error = template("a\n{% if true %}\n{{ raise_exception('no system role') }}{% endif %}")
        .render(&[], &RenderOptions::default())
        .unwrap_err();
    let expected = TemplateError::Raised { name: "default".to_owned(), line: 3, message: "no system role".to_owned() };
    assert_eq!(error, expected);
}

#[test]
fn errors_name_template_and_line() {
    let error = ChatTemplate::new("a\n\n{% if %}", SpecialTokens::default()).unwrap_err();
    assert!(matches!(&error, TemplateError::Syntax { name, line: 3, .. } if name == "default"), "{error:?}");
    let error = template("\n{{ 1 + 'a' }}").render(&[], &RenderOptions::default()).unwrap_err();
    assert!(matches!(&error, TemplateError::Failed { line: 2, .. }), "{error:?}");
}

#[test]
fn endless_templates_end() {
    let source = "{% for a in range(10000) %}{% for b in range(10000) %}{{ a }}{% endfor %}{% endfor %}";
    let error = template(source).render(&[], &RenderOptions::default()).unwrap_err();
    assert!(matches!(error, TemplateError::Endless { .. }), "{error:?}");
    let deep = "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}";
    assert!(template(deep).render(&[], &RenderOptions::default()).is_err());
}

#[test]
fn templates_cannot_fill_the_memory() {
    let sources = [
        "{{ ('a' * 10000000000) | length }}",
        "{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(40) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{{ ('a' * 1000000).replace('a', 'b' * 1000000) | length }}",
        "{{ ('a' * 1000000).join(range(100000)) | length }}",
        "{{ (['a'] * 50000000) | tojson | length }}",
        "{{ '{:1000000000}'.format(1) | length }}",
        "{{ '%1000000000d' | format(1) | length }}",
    ];
    for source in sources {
        assert!(template(source).render(&[], &RenderOptions::default()).is_err(), "{source}");
    }
}

#[test]
fn tools_choose_their_template() {
    let variants = [("default".to_owned(), "plain".to_owned()), ("tool_use".to_owned(), "tools".to_owned())];
    let template = ChatTemplate::with_variants(variants, SpecialTokens::default()).unwrap();
    let with_tools = RenderOptions { tools: Some(Vec::new()), ..RenderOptions::default() };
    assert_eq!(template.render(&[], &RenderOptions::default()).unwrap(), "plain");
    assert_eq!(template.render(&[], &with_tools).unwrap(), "tools");
    assert_eq!(template.source(), "plain");
}

#[test]
fn no_template_is_an_error_that_offers_some() {
    let error = ChatTemplate::from_gguf(&Metadata::new(), SpecialTokens::default()).unwrap_err();
    assert!(error.to_string().contains("chatml, llama2"), "{error}");
    assert!(ChatTemplate::builtin("chatnl", SpecialTokens::default()).unwrap_err().to_string().contains("chatml"));
}

#[test]
fn built_in_formats_write_what_they_should() {
    let messages = [
        Message::new("system", "S"),
        Message::new("user", "U"),
        Message::new("assistant", "A"),
        Message::new("user", "V"),
    ];
    let expected = [
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n",
        "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nU [/INST] A </s><s>[INST] V [/INST]",
        "<s><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nU<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nA<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nV<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        "<s><start_of_turn>user\nS\n\nU<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n<start_of_turn>user\nV<end_of_turn>\n<start_of_turn>model\n",
        "<s>[INST] S\n\nU [/INST] A</s>[INST] V [/INST]",
        "<|system|>\nS<|end|>\n<|user|>\nU<|end|>\n<|assistant|>\nA<|end|>\n<|user|>\nV<|end|>\n<|assistant|>\n",
        "<|system|>\nS</s>\n<|user|>\nU</s>\n<|assistant|>\nA</s>\n<|user|>\nV</s>\n<|assistant|>\n",
        "S\n\nUSER: U\nASSISTANT: A</s>\nUSER: V\nASSISTANT:",
        "S\n\n### Instruction:\nU\n\n### Response:\nA</s>\n\n### Instruction:\nV\n\n### Response:\n",
    ];
    let options = RenderOptions { add_generation_prompt: true, ..RenderOptions::default() };
    for ((name, source), expected) in BUILTIN.iter().zip(expected) {
        assert_eq!(template(source).render(&messages, &options).unwrap(), expected, "{name}");
    }
}

#[test]
fn messages_keep_unknown_fields_and_explicit_null() {
    let json =
        r#"{"role":"assistant","content":null,"tool_calls":[{"function":{"name":"f","arguments":"{\"a\": 1}"}}]}"#;
    let mut message: Message = serde_json::from_str(json).unwrap();
    assert_eq!(message.content, Some(Json::Null));
    assert_eq!(serde_json::to_string(&message).unwrap(), json);
    message.parse_tool_arguments();
    assert_eq!(message.extra["tool_calls"][0]["function"]["arguments"], json!({"a": 1}));
    let absent: Message = serde_json::from_str(r#"{"role":"user"}"#).unwrap();
    assert_eq!(absent.content, None);
}
