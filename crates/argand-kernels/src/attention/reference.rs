//! Attention as its definition says, in `f64`: the oracle of the fast kernel.

/// One call: `q` is `[rows][heads][dim_k]`, `keys` `[tokens][dim_k]`, `values` `[tokens][dim_v]`.
#[derive(Clone, Debug)]
pub struct Reference<'a> {
    pub keys: &'a [Vec<f32>],
    pub values: &'a [Vec<f32>],
    pub past: usize,
    pub causal: bool,
    pub window: Option<usize>,
    pub scale: f32,
    pub softcap: Option<f32>,
}

impl Reference<'_> {
    /// The output `[dim_v]` of one query in row `r`, and how far a kernel in `f32` may be off.
    /// `bias` says what is added to the score of a token that lies so far behind the row.
    pub fn attend(&self, r: usize, q: &[f32], sink: Option<f32>, bias: impl Fn(isize) -> f32) -> (Vec<f64>, f64) {
        let p = self.past + r;
        let mut out = vec![0.0; self.values[0].len()];
        let (mut logits, mut size, mut largest_value) = (Vec::new(), 0f64, 0f64);
        for (t, key) in self.keys.iter().enumerate() {
            let in_window = self.window.is_none_or(|w| p.abs_diff(t) < w);
            if !in_window || self.causal && t > p {
                continue;
            }
            let products = q.iter().zip(key).map(|(&a, &b)| f64::from(a) * f64::from(b));
            let bias = f64::from(bias(t as isize - p as isize));
            size = size.max(products.clone().map(f64::abs).sum::<f64>() * f64::from(self.scale) + bias.abs());
            let score = products.sum::<f64>() * f64::from(self.scale) + bias;
            let score = self.softcap.map_or(score, |c| f64::from(c) * (score / f64::from(c)).tanh());
            logits.push((t, score));
        }
        let weights = |(_, logit): &(usize, f64)| logit.exp();
        let total = logits.iter().map(weights).sum::<f64>() + sink.map_or(0.0, |sink| f64::from(sink).exp());
        for logit in &logits {
            for (out, &v) in out.iter_mut().zip(&self.values[logit.0]) {
                *out += weights(logit) / total * f64::from(v);
                largest_value = largest_value.max(f64::from(v).abs());
            }
        }
        // A score is off by one rounding per dim; its exponential and the weighted sum carry that
        // on, and add one rounding per token in the worst lane, a few for exp and the cap.
        let score_roundings = (q.len() + 4) as f64 * size + 4.0 * f64::from(self.softcap.unwrap_or(0.0));
        let roundings = 2.0 * score_roundings + logits.len() as f64 + 16.0;
        (out, f64::from(f32::EPSILON) * largest_value * roundings)
    }
}
