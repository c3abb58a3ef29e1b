"""Tiny encoders: one row per variant, its config.json and whether its runs are pairs of texts."""

SIZES = {
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 14,
    "vocab_size": 31,
    "max_position_embeddings": 24,
    "pad_token_id": 0,
    "torch_dtype": "float32",
}
LABELS = {"id2label": {"0": "left", "1": "middle", "2": "right"}, "label2id": {"left": 0, "middle": 1, "right": 2}}
SCORE = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}


def bert(architecture, model_type="bert", **more):
    """A checkpoint of BERT or its kin; `more` overrides fields."""
    base = {"architectures": [architecture], "model_type": model_type, "hidden_act": "gelu", "layer_norm_eps": 1e-12}
    return base | SIZES | {"type_vocab_size": 2} | more


def roberta(architecture, model_type="roberta", **more):
    """RoBERTa and its kin count positions from after the padding token; one segment."""
    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
    return bert(architecture, model_type, **ids, **more)


def distilbert(architecture, **more):
    """A DistilBERT checkpoint, whose fields have other names."""
    base = {"architectures": [architecture], "model_type": "distilbert", "activation": "gelu", "dim": 12, "hidden_dim": 14}
    base |= {"n_heads": 3, "n_layers": 2, "vocab_size": 31, "max_position_embeddings": 24, "sinusoidal_pos_embds": False}
    return base | {"pad_token_id": 0, "tie_weights_": True, "torch_dtype": "float32"} | more


def modernbert(architecture, **more):
    """A ModernBERT checkpoint whose first of three layers sees everything and the others three tokens to each side."""
    base = {"architectures": [architecture], "model_type": "modernbert", "hidden_activation": "gelu", "norm_eps": 1e-5}
    base |= SIZES | {"num_hidden_layers": 3, "global_attn_every_n_layers": 3, "local_attention": 6, "norm_bias": False}
    base |= {"attention_bias": False, "mlp_bias": False, "classifier_bias": False, "decoder_bias": True}
    base |= {"global_rope_theta": 160000.0, "local_rope_theta": 10000.0, "tie_word_embeddings": True}
    base |= {"bos_token_id": 3, "eos_token_id": 4, "cls_token_id": 3, "sep_token_id": 4, "classifier_activation": "gelu"}
    return base | more


VARIANTS = {
    "bert": (bert("BertModel"), True),
    "bert_mlm": (bert("BertForMaskedLM"), False),
    "bert_classify": (bert("BertForSequenceClassification", **LABELS), False),
    "bert_rerank": (bert("BertForSequenceClassification", **SCORE), True),
    "bert_tokens": (bert("BertForTokenClassification", **LABELS), False),
    "roberta_mlm": (roberta("RobertaForMaskedLM"), False),
    "roberta_classify": (roberta("RobertaForSequenceClassification", **LABELS), False),
    "xlm_roberta": (roberta("XLMRobertaModel", "xlm-roberta"), False),
    "xlm_roberta_rerank": (roberta("XLMRobertaForSequenceClassification", "xlm-roberta", **SCORE), False),
    "distilbert_mlm": (distilbert("DistilBertForMaskedLM"), False),
    "distilbert_classify": (distilbert("DistilBertForSequenceClassification", **LABELS), False),
    "albert_mlm": (
        bert("AlbertForMaskedLM", "albert", embedding_size=8, num_hidden_layers=3, hidden_act="gelu_new"),
        False,
    ),
    "albert": (bert("AlbertModel", "albert", embedding_size=8, num_hidden_layers=3), True),
    "mpnet_mlm": (
        roberta("MPNetForMaskedLM", "mpnet", relative_attention_num_buckets=32),
        False,
    ),
    "modernbert_mlm": (modernbert("ModernBertForMaskedLM"), False),
    "modernbert_classify": (modernbert("ModernBertForSequenceClassification", classifier_pooling="mean", **LABELS), False),
    "modernbert_tokens": (modernbert("ModernBertForTokenClassification", **LABELS), False),
    "electra_mlm": (bert("ElectraForMaskedLM", "electra", embedding_size=8), False),
    "electra_classify": (bert("ElectraForSequenceClassification", "electra", embedding_size=12, **LABELS), False),
}
