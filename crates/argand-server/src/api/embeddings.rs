//! `/v1/embeddings`, as OpenAI's clients use it.

use super::reading::{inputs, prepare, read, sequences};
use super::{Answer, json};
use crate::account::Caller;
use crate::answer::Answers;
use crate::app::App;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::models::Ability;
use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};
use std::sync::Arc;

/// How vectors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// A list of numbers.
    Float,
    /// Numbers of four bytes, the lowest first, in base64: what OpenAI's Python client asks for.
    Base64,
}

/// `POST /v1/embeddings`.
pub async fn create(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>, body: Bytes) -> Answer {
    let mut fields = Fields::parse(&body)?;
    let model: String = fields.need("model")?;
    let inputs = inputs(fields.need("input")?, "input")?;
    let format = match fields.take::<String>("encoding_format")?.as_deref() {
        None | Some("float") => Format::Float,
        Some("base64") => Format::Base64,
        Some(other) => {
            let message = format!("encoding_format is {other:?}, expected \"float\" or \"base64\"");
            return Err(ApiError::field("encoding_format", message));
        }
    };
    let dimensions: Option<usize> = fields.take("dimensions")?;
    let truncate = fields.take("truncate")?.unwrap_or(false);
    fields.ignore(&["user"]);
    fields.done()?;

    caller.sees(&app.models.canonical(&model)?)?;
    let lease = app.models.reader(&model, Ability::Embeddings).await?;
    let width = lease.width;
    if let Some(wanted) = dimensions.filter(|wanted| !(1..=width).contains(wanted)) {
        let message = format!("dimensions is {wanted}, and the model's vectors have {width}");
        return Err(ApiError::field("dimensions", message));
    }
    let sequences = sequences(&lease, move |model| prepare(model, &inputs, "input", truncate)).await?;
    let done = read(&app, &caller, &lease, "embeddings", sequences).await?;
    let vector = |(index, values): (usize, Vec<f32>)| {
        let values = dimensions.map_or(values.clone(), |wanted| shorten(&values, wanted));
        json!({ "object": "embedding", "index": index, "embedding": write(&values, format) })
    };
    let tokens = done.total.prompt;
    let body = json!({
        "object": "list", "model": lease.name(), "data": done.value.into_iter().enumerate().map(vector).collect::<Vec<_>>(),
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    });
    Ok(Answers::with_limits(&done.hold, json(body)))
}

/// The first values of a vector, which has the length 1 again.
fn shorten(values: &[f32], wanted: usize) -> Vec<f32> {
    let kept = &values[..wanted.min(values.len())];
    let length = kept.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
    kept.iter().map(|x| (f64::from(*x) * scale) as f32).collect()
}

fn write(values: &[f32], format: Format) -> Json {
    match format {
        Format::Float => values.into(),
        Format::Base64 => STANDARD.encode(values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_written_as_numpy_reads_them() {
        // base64.b64encode(numpy.array([1, -2, 0.5], dtype="<f4").tobytes())
        assert_eq!(write(&[1.0, -2.0, 0.5], Format::Base64), json!("AACAPwAAAMAAAAA/"));
        assert_eq!(write(&[1.0, -2.0, 0.5], Format::Float), json!([1.0, -2.0, 0.5]));
    }

    #[test]
    fn shorter_vectors_have_the_length_one() {
        assert_eq!(shorten(&[3.0, 4.0, 12.0], 2), [0.6, 0.8]);
        assert_eq!(shorten(&[-2.0, 1.0], 1), [-1.0]);
        assert_eq!(shorten(&[0.0, 1.0], 1), [0.0]);
    }
}
