//! Configurations of models whose files carry none: which architecture they have, what they want to see, what they tell apart.

use serde_json::Value;

/// Names of the built-in configurations.
pub const NAMES: &[&str] =
    &["efficientnet-lite0", "easyocr-english-g2", "silero-vad", "dcgan-faces", "g2p-en", "open-nsfw"];

/// The built-in configuration of that name.
pub fn built_in(name: &str) -> Option<Value> {
    let text = match name {
        "efficientnet-lite0" => include_str!("../configs/efficientnet-lite0.json"),
        "easyocr-english-g2" => include_str!("../configs/easyocr-english-g2.json"),
        "silero-vad" => include_str!("../configs/silero-vad.json"),
        "dcgan-faces" => include_str!("../configs/dcgan-faces.json"),
        "g2p-en" => include_str!("../configs/g2p-en.json"),
        "open-nsfw" => include_str!("../configs/open-nsfw.json"),
        _ => return None,
    };
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_name_is_a_configuration_that_builds_a_graph() {
        for name in super::NAMES {
            let config = super::built_in(name).unwrap_or_else(|| panic!("{name} cannot be read"));
            argand_models::Model::from_config(&config, None).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        assert!(super::built_in("../Cargo").is_none());
    }
}
