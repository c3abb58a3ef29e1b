//! From the states of tokens to one vector for a text, as folders of sentence-transformers say (Reimers and Gurevych 2019):
//! `modules.json` lists a transformer, a pooling, and perhaps dense layers and a normalisation.

use crate::Error;
use argand_graph::{Pool, T, Unary};
use argand_weights::Checkpoint;
use serde_json::Value as Json;

/// What comes behind the layers of an encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Sentence {
    /// Ways to pool; the results lie side by side.
    pub pools: Vec<Pool>,
    /// What is done with the result, in order.
    pub then: Vec<Module>,
}

/// A module behind the pooling.
#[derive(Clone, Debug, PartialEq)]
pub enum Module {
    /// A product with a bias or without, and a function.
    #[allow(missing_docs)]
    Dense { folder: String, out: usize, bias: bool, act: Option<Unary> },
    /// Division by the length of the vector.
    Normalize,
}

/// Names of pooling modes in their order in the result, as `Pooling.forward` has it.
const MODES: [(&str, Pool); 4] =
    [("cls_token", Pool::First), ("max_tokens", Pool::Max), ("mean_tokens", Pool::Mean), ("lasttoken", Pool::Last)];

impl Sentence {
    /// One way of pooling and nothing else, for encoders without `modules.json`.
    pub fn plain(pool: Pool) -> Sentence {
        Sentence { pools: vec![pool], then: Vec::new() }
    }

    /// Reads `modules.json` and what it points to; none where there is no such file.
    ///
    /// # Errors
    /// A module that is not known, or an odd configuration.
    pub fn read(checkpoint: &Checkpoint) -> Result<Option<Sentence>, Error> {
        let Some(modules) = checkpoint.sidecar_json("modules.json")? else { return Ok(None) };
        let reader = Reader { checkpoint };
        let list = modules.as_array().ok_or_else(|| reader.unsupported("modules.json is no list"))?;
        let mut sentence = Sentence { pools: Vec::new(), then: Vec::new() };
        for module in list {
            let text = |key: &str| module.get(key).and_then(Json::as_str).unwrap_or("");
            let (kind, folder) = (text("type").rsplit('.').next().unwrap_or(""), text("path"));
            match kind {
                "Transformer" if folder.is_empty() => {}
                "Pooling" if sentence.pools.is_empty() => sentence.pools = reader.pools(folder)?,
                "Dense" => sentence.then.push(reader.dense(folder)?),
                "Normalize" => sentence.then.push(Module::Normalize),
                _ => return Err(reader.unsupported(format!("module `{kind}` in `{folder}` of modules.json"))),
            }
        }
        match sentence.pools.is_empty() {
            true => Err(reader.unsupported("modules.json without a pooling")),
            false => Ok(Some(sentence)),
        }
    }

    /// The vectors of sequences, `[B, E]`, from the states of their tokens.
    pub(crate) fn apply<'g>(&self, x: T<'g>) -> T<'g> {
        let pooled = self.pools.iter().map(|pool| x.pool(*pool)).reduce(T::concat).unwrap_or(x);
        let vectors = self.then.iter().fold(pooled, |x, module| match module {
            Module::Normalize => x.l2_norm(),
            Module::Dense { folder, out, bias, act } => {
                let y = x.linear_bias(&format!("{folder}/linear"), *out, *bias);
                act.map_or(y, |act| y.unary(act))
            }
        });
        vectors.named("embedding")
    }
}

struct Reader<'a> {
    checkpoint: &'a Checkpoint,
}

impl Reader<'_> {
    fn unsupported(&self, what: impl Into<String>) -> Error {
        Error::Unsupported { file: self.checkpoint.path().display().to_string(), what: what.into() }
    }

    fn config(&self, folder: &str) -> Result<Json, Error> {
        let name = format!("{folder}/config.json");
        let config = self.checkpoint.sidecar_json(&name)?;
        config.ok_or_else(|| self.unsupported(format!("modules.json needs {name}, which is missing")))
    }

    fn pools(&self, folder: &str) -> Result<Vec<Pool>, Error> {
        let config = self.config(folder)?;
        let on = |(key, value): (&String, &Json)| {
            let mode = key.strip_prefix("pooling_mode_").filter(|_| value == true)?;
            Some(mode.to_string())
        };
        let wanted: Vec<String> = config.as_object().into_iter().flatten().filter_map(on).collect();
        if let Some(other) = wanted.iter().find(|mode| MODES.iter().all(|(known, _)| known != mode)) {
            return Err(self.unsupported(format!("pooling mode `{other}` of {folder} is not known")));
        }
        let pools = MODES.iter().filter(|(mode, _)| wanted.iter().any(|w| w == mode)).map(|(_, pool)| *pool).collect();
        Ok(pools)
    }

    fn dense(&self, folder: &str) -> Result<Module, Error> {
        let config = self.config(folder)?;
        let out = config.get("out_features").and_then(Json::as_u64).filter(|n| (1..1 << 20).contains(n));
        let out = out.ok_or_else(|| self.unsupported(format!("{folder}: a field `out_features` is needed")))?;
        let act = match config.get("activation_function").and_then(Json::as_str).and_then(|s| s.rsplit('.').next()) {
            None | Some("Identity") => None,
            Some("Tanh") => Some(Unary::Tanh),
            Some("ReLU") => Some(Unary::Relu),
            Some("GELU") => Some(Unary::GeluErf),
            Some("Sigmoid") => Some(Unary::Sigmoid),
            Some(other) => return Err(self.unsupported(format!("{folder}: activation `{other}` is not known"))),
        };
        let bias = config.get("bias").and_then(Json::as_bool).unwrap_or(true);
        Ok(Module::Dense { folder: folder.to_string(), out: out as usize, bias, act })
    }
}
