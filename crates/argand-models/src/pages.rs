//! The pages: a file for each architecture, and its name in the list below.

/// A module for each architecture, and the list of their pages.
macro_rules! pages {
    ($($name:ident)+) => {
        $(pub mod $name;)+

        /// Every architecture.
        pub const PAGES: &[&crate::Page] = &[$(&$name::PAGE),+];
    };
}

pages! {
    albert
    bert
    bloom
    clip
    crnn
    dcgan
    deepseek
    distilbert
    electra
    efficientnet_lite
    falcon
    g2p_gru
    gemma2
    gemma3
    gpt2
    gpt_neox
    gpt_oss
    llama
    llava
    mistral
    mixtral
    modernbert
    mpnet
    mobilenet_v2
    phi
    phi3
    qwen2
    qwen2_vl
    qwen3
    qwen3_moe
    roberta
    recurrent
    resnet
    siglip
    silero_vad
    smollm3
    smolvlm
    t5
    vit
}
