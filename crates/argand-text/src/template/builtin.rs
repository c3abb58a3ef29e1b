//! Formats that many models share, for models whose files bring no template.

/// Name and template of each format. Choosing one is the user's act: a wrong format makes a model stupid silently.
pub const BUILTIN: [(&str, &str); 9] = [
    ("chatml", include_str!("builtin/chatml.jinja")),
    ("llama2", include_str!("builtin/llama2.jinja")),
    ("llama3", include_str!("builtin/llama3.jinja")),
    ("gemma", include_str!("builtin/gemma.jinja")),
    ("mistral", include_str!("builtin/mistral.jinja")),
    ("phi3", include_str!("builtin/phi3.jinja")),
    ("zephyr", include_str!("builtin/zephyr.jinja")),
    ("vicuna", include_str!("builtin/vicuna.jinja")),
    ("alpaca", include_str!("builtin/alpaca.jinja")),
];
