//! Chat templates of many models against the texts that `transformers` renders (goldens by parity/text_templates.py).

mod common;

use argand_text::{ChatTemplate, Message, RenderOptions, SpecialTokens, TemplateError};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

const GOLDEN: &str = include_str!("golden/templates.json");

#[derive(Deserialize)]
struct Golden {
    now: u64,
    special: BTreeMap<String, String>,
    conversations: BTreeMap<String, Conversation>,
    cases: BTreeMap<String, BTreeMap<String, Outcome>>,
}

#[derive(Deserialize)]
struct Conversation {
    messages: Vec<Message>,
    tools: Option<Vec<Value>>,
    add_generation_prompt: Option<bool>,
    #[serde(default)]
    extra: Map<String, Value>,
}

/// Where the reference escapes HTML because the template joins texts with one marked `safe`, which no model learnt.
const DIFFERENT: [(&str, &str); 2] = [
    ("meetkai-functionary-medium-v3.1.jinja", "tools_offered"),
    ("meetkai-functionary-medium-v3.1.jinja", "tools_used"),
];

/// What the reference did.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Outcome {
    Text { sha256: String, bytes: usize },
    Raised { raised: String },
    Failed { failed: bool },
}

impl Outcome {
    fn agrees(&self, rendered: &Result<String, TemplateError>) -> bool {
        match (self, rendered) {
            (Self::Text { sha256, bytes }, Ok(text)) => {
                let digest = Sha256::digest(text);
                let hex: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
                text.len() == *bytes && hex == *sha256
            }
            (Self::Raised { raised }, Err(TemplateError::Raised { message, .. })) => message == raised,
            // What the reference's language cannot do may have a meaning here: only texts are promised.
            (Self::Failed { failed }, _) => *failed,
            _ => false,
        }
    }
}

#[test]
fn texts_are_those_of_transformers() {
    let Some(models) = common::llama_cpp_models("chat templates") else { return };
    let golden: Golden = serde_json::from_str(GOLDEN).expect("the golden file");
    let now = UNIX_EPOCH + Duration::from_secs(golden.now);
    let (mut compared, mut wrong) = (0, Vec::new());
    for (file, cases) in &golden.cases {
        let source = std::fs::read_to_string(models.join("templates").join(file)).expect("a template");
        let template = match ChatTemplate::new(&source, SpecialTokens(golden.special.clone())) {
            Ok(template) => template,
            Err(error) => {
                wrong.push(format!("{file}: {error}"));
                continue;
            }
        };
        for (name, outcome) in cases {
            let conversation = &golden.conversations[name];
            let options = RenderOptions {
                add_generation_prompt: conversation.add_generation_prompt.unwrap_or(true),
                tools: conversation.tools.clone(),
                extra: conversation.extra.clone(),
                now: Some(now),
                ..RenderOptions::default()
            };
            let rendered = template.render(&conversation.messages, &options);
            compared += 1;
            let different = DIFFERENT.contains(&(file.as_str(), name.as_str()));
            if outcome.agrees(&rendered) == different {
                wrong.push(format!("{file} {name}: expected {outcome:?}, got {rendered:?}"));
            }
        }
    }
    assert!(compared > 500, "only {compared} cases");
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
}
