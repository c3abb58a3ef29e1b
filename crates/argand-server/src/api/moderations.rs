//! `/v1/moderations`: a classifier's labels as categories.

use super::reading::{Input, inputs, prepare, read, sequences};
use super::{Answer, json, new_id};
use crate::account::Caller;
use crate::answer::Answers;
use crate::app::App;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::models::Ability;
use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;

/// From this probability on a label is believed.
const BELIEVED: f64 = 0.5;

/// `POST /v1/moderations`. Without `model`, the first classifier that the caller may use.
pub async fn create(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>, body: Bytes) -> Answer {
    let mut fields = Fields::parse(&body)?;
    let model: Option<String> = fields.take("model")?;
    let inputs = parts(fields.need("input")?)?;
    let truncate = fields.take("truncate")?.unwrap_or(false);
    fields.done()?;

    let model = match model {
        Some(model) => model,
        None => {
            app.models.look().await;
            let states = app.models.states();
            let first = states.iter().find(|state| state.can(Ability::Classify) && caller.sees(&state.id).is_ok());
            let none = || ApiError::not_found("no model here moderates: none of them tells labels of texts");
            first.map(|state| state.id.clone()).ok_or_else(none)?
        }
    };
    let name = app.models.canonical(&model)?;
    caller.sees(&name)?;
    let lease = app.models.reader(&model, Ability::Classify).await?;
    let sequences = sequences(&lease, move |model| prepare(model, &inputs, "input", truncate)).await?;
    let done = read(&app, &caller, &lease, "moderations", sequences).await?;
    let harmless = app.config.models.iter().find(|config| config.name == name).map_or(&[][..], |c| &c.harmless);
    let results = done.value.iter().map(|row| result(&lease.labels, &lease.probabilities(row), harmless));
    let body = json!({ "id": new_id("modr-"), "model": lease.name(), "results": results.collect::<Vec<_>>() });
    Ok(Answers::with_limits(&done.hold, json(body)))
}

/// A text, texts, or parts of one message, of which only texts can be read.
fn parts(value: Json) -> Result<Vec<Input>, ApiError> {
    let Json::Array(list) = &value else { return inputs(value, "input") };
    if !list.iter().any(Json::is_object) {
        let inputs = inputs(value, "input")?;
        return match inputs.iter().any(|input| matches!(input, Input::Tokens(_))) {
            true => Err(ApiError::field("input", "input has tokens, expected texts")),
            false => Ok(inputs),
        };
    }
    let text = |(i, part): (usize, &Json)| {
        let mut fields = Fields::of(part.clone(), &format!("input[{i}]"))?;
        let kind: String = fields.need("type")?;
        if kind != "text" {
            let message = format!("input[{i}] is of type {kind:?}, and classifiers here read text only");
            return Err(ApiError::field("input", message).with_code("unsupported_content"));
        }
        let text: String = fields.need("text")?;
        fields.done()?;
        Ok(text)
    };
    let texts = list.iter().enumerate().map(text).collect::<Result<Vec<_>, _>>()?;
    inputs(texts.join("\n").into(), "input")
}

fn result(labels: &[String], probabilities: &[f64], harmless: &[String]) -> Json {
    let (mut categories, mut scores, mut kinds) = (Map::new(), Map::new(), Map::new());
    let mut flagged = false;
    for (label, probability) in labels.iter().zip(probabilities) {
        let believed = *probability >= BELIEVED;
        flagged |= believed && !harmless.iter().any(|word| word.eq_ignore_ascii_case(label));
        categories.insert(label.clone(), believed.into());
        scores.insert(label.clone(), (*probability).into());
        kinds.insert(label.clone(), json!(["text"]));
    }
    json!({ "flagged": flagged, "categories": categories, "category_scores": scores, "category_applied_input_types": kinds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_labels_flag_nothing() {
        let labels = ["toxic".to_string(), "Neutral".to_string()];
        let harmless = ["neutral".to_string()];
        let calm = result(&labels, &[0.2, 0.8], &harmless);
        assert_eq!(
            (&calm["flagged"], &calm["categories"]),
            (&json!(false), &json!({ "toxic": false, "Neutral": true }))
        );
        assert_eq!(result(&labels, &[0.6, 0.4], &harmless)["flagged"], true);
        assert_eq!(result(&labels, &[0.2, 0.8], &[])["flagged"], true);
    }

    #[test]
    fn parts_of_a_message_are_one_text() {
        let text = |text: &str| Input::Text(text.into());
        assert_eq!(
            parts(json!([{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }])),
            Ok(vec![text("a\nb")])
        );
        assert_eq!(parts(json!(["a", "b"])), Ok(vec![text("a"), text("b")]));
        let picture = json!([{ "type": "image_url", "image_url": { "url": "data:" } }]);
        assert_eq!(parts(picture).expect_err("a picture").code, Some("unsupported_content"));
        for (bad, param) in [
            (json!([1]), "input"),
            (json!([{ "type": "text" }]), "input[0].text"),
            (json!([{ "type": "text", "text": "a", "colour": 1 }]), "input[0].colour"),
            (json!([{ "type": "text", "text": "a" }, "b"]), "input[1]"),
            (json!({}), "input"),
        ] {
            assert_eq!(parts(bad.clone()).expect_err("bad").param.as_deref(), Some(param), "{bad}");
        }
    }
}
