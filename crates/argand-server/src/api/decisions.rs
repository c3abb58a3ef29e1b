//! `/v1/decisions`: questions about an input, answered by probabilities.
//!
//! A model that writes is asked how likely it would give each answer, word for word. A classifier reads the input and is asked
//! for those of its labels that the answers are; it knows its question already, and does not read that of the request.

use super::questions::{Kind, Question, input};
use super::reading::{Input, prepare, read, sequences};
use super::sampling::IGNORED;
use super::{Answer, json};
use crate::account::Caller;
use crate::answer::{Answers, Total};
use crate::app::App;
use crate::errand::{self, Done, Errand};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::loaded::softmax;
use crate::models::{Ability, AnyLease, Lease, Reading, Writing};
use crate::prompt::Conversation;
use crate::scoring::{Scored, score};
use argand_text::Message;
use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;

/// Probabilities of the choices of each question.
type Chances = Vec<Vec<f64>>;

/// For the record.
const ENDPOINT: &str = "decisions";

/// `POST /v1/decisions`.
pub async fn create(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>, body: Bytes) -> Answer {
    let mut fields = Fields::parse(&body)?;
    let model: String = fields.need("model")?;
    let text = input(fields.need("input")?)?;
    let questions = Question::read_all(fields.need("questions")?)?;
    fields.ignore(&IGNORED);
    fields.done()?;

    caller.sees(&app.models.canonical(&model)?)?;
    let (name, done) = match app.models.get(&model).await? {
        AnyLease::Writes(lease) => (lease.name().to_string(), ask(&app, &caller, lease, text, &questions).await?),
        AnyLease::Reads(lease) => {
            let lease = lease.made_for(Ability::Classify)?;
            (lease.name().to_string(), classify(&app, &caller, lease, text, &questions).await?)
        }
    };
    let answers = questions.iter().zip(&done.value).map(|(question, chances)| question.answer(chances));
    let body = json!({ "model": name, "answers": answers.collect::<Vec<_>>(), "usage": usage(&done.total) });
    Ok(Answers::with_limits(&done.hold, json(body)))
}

fn usage(total: &Total) -> Json {
    json!({
        "input_tokens": total.prompt, "input_tokens_details": { "cached_tokens": total.cached, "cache_write_tokens": 0 },
        "output_tokens": total.completion, "output_tokens_details": { "reasoning_tokens": total.reasoning },
        "total_tokens": total.prompt + total.completion,
    })
}

/// Asks a model that writes.
async fn ask(
    app: &Arc<App>,
    caller: &Caller,
    lease: Lease<Writing>,
    text: String,
    questions: &[Question],
) -> Result<Done<Chances>, ApiError> {
    let (own, asked) = (lease.clone(), questions.to_vec());
    // With many questions about a long text this takes its time.
    let scored = tokio::task::spawn_blocking(move || {
        asked.iter().map(|question| scored(&own, &text, question)).collect::<Result<Vec<_>, _>>()
    });
    let scored = scored.await.map_err(|_| ApiError::internal("a mistake in reading the questions"))??;
    let read = scored.iter().map(|one| one.prompt.len()).sum();
    let written = scored.iter().flat_map(|one| &one.texts).map(Vec::len).sum();
    let errand = Errand { endpoint: ENDPOINT, model: lease.name().to_string(), read, written };
    let tenant = caller.tenant();
    let work = async move |tally: errand::Tally, mut signal: errand::Signal| {
        let sums = score(&lease, tenant, &scored, &tally, &mut signal).await?;
        Ok(sums.iter().map(|sums| softmax(sums)).collect())
    };
    errand::run(app, caller, errand, work).await
}

/// A question as the model reads it, and the answers as it would write them.
fn scored(lease: &Lease<Writing>, text: &str, question: &Question) -> Result<Scored, ApiError> {
    let (writer, prompt) = (&lease.writer, question.prompt(text));
    let mut prompt = if writer.chats() {
        // Nobody waits for thoughts: the answer is to follow at once.
        let variables = Map::from_iter([("enable_thinking".to_string(), false.into())]);
        let messages = vec![Message::new("user", prompt)];
        let prompt = writer.prompt(&Conversation { messages, variables, ..Conversation::default() })?;
        let thinks = prompt.speech.is_thinking();
        let end = if thinks { writer.tokenizer.encode("\n</think>\n\n", false, true)? } else { Vec::new() };
        [prompt.tokens, end].concat()
    } else {
        writer.text(&format!("{prompt}\n\nAnswer:\n"))?
    };
    prompt.shrink_to_fit();
    let encode = |choice| Ok(writer.tokenizer.encode(&question.written(choice), false, false)?);
    let texts = question.choices.iter().map(encode).collect::<Result<Vec<Vec<u32>>, ApiError>>()?;
    let found = prompt.len() + texts.iter().map(Vec::len).max().unwrap_or(0);
    if found > lease.context {
        let message = format!(
            "a question with the input and its longest answer has {found} tokens, and the model's context holds {}",
            lease.context
        );
        return Err(ApiError::field("input", message).with_code("context_length_exceeded"));
    }
    Ok(Scored { prompt, texts })
}

/// Asks a classifier.
async fn classify(
    app: &Arc<App>,
    caller: &Caller,
    lease: Lease<Reading>,
    text: String,
    questions: &[Question],
) -> Result<Done<Chances>, ApiError> {
    let find = |(i, question)| places(&lease.labels, question).ok_or_else(|| foreign(&lease, i));
    let places = questions.iter().enumerate().map(find).collect::<Result<Vec<_>, _>>()?;
    let one = sequences(&lease, move |model| prepare(model, &[Input::Text(text)], "input", false)).await?;
    let done = read(app, caller, &lease, ENDPOINT, one).await?;
    let chances = lease.probabilities(&done.value.concat());
    let among = |places: &Vec<usize>| normal(&places.iter().map(|i| chances[*i]).collect::<Vec<_>>());
    Ok(Done { value: places.iter().map(among).collect(), total: done.total, hold: done.hold })
}

/// Parts of their sum; all the same where that is nothing.
fn normal(parts: &[f64]) -> Vec<f64> {
    softmax(&parts.iter().map(|part| part.ln()).collect::<Vec<_>>())
}

/// Where the choices of a question are among a classifier's labels, in any case of letters.
fn places(labels: &[String], question: &Question) -> Option<Vec<usize>> {
    let place = |word: &str| labels.iter().position(|label| label.eq_ignore_ascii_case(word));
    let all = |words: &[String]| words.iter().map(|word| place(word)).collect::<Option<Vec<usize>>>();
    match question.kind {
        Kind::Predicate => [["yes", "no"], ["true", "false"]].iter().find_map(|words| all(&words.map(String::from))),
        Kind::Choice | Kind::Score => {
            let words: Vec<String> = question.choices.iter().map(|choice| choice.word()).collect();
            let places = all(&words)?;
            // The string and the boolean of the same name would be the same label.
            let mut different = places.clone();
            different.sort_unstable();
            different.dedup();
            (different.len() == places.len()).then_some(places)
        }
    }
}

fn foreign(lease: &Lease<Reading>, i: usize) -> ApiError {
    let message = format!(
        "questions[{i}] has answers that {} does not tell apart; it is a classifier with the labels {}. Ask only for these, or a model that writes",
        lease.name(),
        lease.labels.join(", ")
    );
    ApiError::field(&format!("questions[{i}]"), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(value: Json) -> Question {
        Question::read_all(vec![value]).expect("good").remove(0)
    }

    #[test]
    fn choices_are_found_among_labels() {
        let labels = ["Left", "right", "yes", "NO"].map(String::from);
        let choices = |values: &[Json]| {
            let list: Vec<Json> = values.iter().map(|value| json!({ "value": value })).collect();
            question(json!({ "type": "choice", "instructions": "x", "choices": list }))
        };
        assert_eq!(places(&labels, &choices(&[json!("right"), json!("left")])), Some(vec![1, 0]));
        assert_eq!(places(&labels, &choices(&[json!("right"), json!("middle")])), None);
        assert_eq!(places(&["true".into(), "b".into()], &choices(&[json!(true), json!("true")])), None);
        let predicate = question(json!({ "type": "predicate", "instructions": "x" }));
        assert_eq!(places(&labels, &predicate), Some(vec![2, 3]));
        assert_eq!(places(&labels[..2], &predicate), None);
    }

    #[test]
    fn parts_become_probabilities() {
        let chances = normal(&[0.2, 0.6]);
        assert!((chances[0] - 0.25).abs() < 1e-12 && (chances.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{chances:?}");
        assert_eq!(normal(&[0.0, 0.0]), [0.5, 0.5]);
    }
}
