"""Turns a checkpoint into the GGUF file that Arc ships, and a GGUF file into a folder for transformers.

    python training/export.py gguf --checkpoint OUT/checkpoint.pt --tokenizer DIR/tokenizer.json --out arc.gguf
    python training/export.py hf --gguf arc.gguf --out FOLDER        (float32, the dequantised weights of the file)
    python training/export.py mix --gguf FIRST.gguf SECOND.gguf --share 0.75 --tokenizer DIR/tokenizer.json --out arc.gguf

Names and metadata follow llama.cpp: the extra prediction layer is block n_layers with `nextn` tensors, counted in block_count.
llama.cpp's qwen3 does not know that layer; --without-mtp writes a file that it loads.
"""
import argparse
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "data")]

import numpy as np
import tokenizers
import torch
from safetensors.numpy import save_file

import gguf
from dialogue import END_OF_TEXT, IM_END, SPECIAL_TOKENS, TOOL_TAGS
from model import Model, Shape
from tokenizer import assemble

MAX_BYTES = 24_000_000
LAYER = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}
EXTRA = {"mtp.fc": "nextn.eh_proj", "mtp.pre_fc_norm_embedding": "nextn.enorm", "mtp.pre_fc_norm_hidden": "nextn.hnorm",
         "mtp.norm": "nextn.shared_head_norm"}
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4  # tokenizer.ggml.token_type


def names(n_layers):
    """{name in the checkpoint: name in GGUF}, both without the ending .weight."""
    table = {"model.embed_tokens": "token_embd", "model.norm": "output_norm"}
    for i in range(n_layers):
        table |= {f"model.layers.{i}.{ours}": f"blk.{i}.{theirs}" for ours, theirs in LAYER.items()}
    table |= {f"mtp.layers.0.{ours}": f"blk.{n_layers}.{theirs}" for ours, theirs in LAYER.items()}
    return table | {ours: f"blk.{n_layers}.{theirs}" for ours, theirs in EXTRA.items()}


def metadata(shape, tokenizer_file, with_mtp):
    vocabulary = json.loads(Path(tokenizer_file).read_text())["model"]
    tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer_file))
    tokens = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    kinds = [CONTROL if token in SPECIAL_TOKENS else USER_DEFINED if token in TOOL_TAGS else NORMAL for token in tokens]
    return {
        "general.architecture": "qwen3",
        "general.name": "Arc built-in",
        "general.license": "apache-2.0",
        "general.file_type": 7,
        "general.quantization_version": 2,
        "qwen3.block_count": shape.n_layers + with_mtp,
        "qwen3.context_length": shape.max_context,
        "qwen3.embedding_length": shape.dim,
        "qwen3.feed_forward_length": shape.ffn_dim,
        "qwen3.attention.head_count": shape.n_heads,
        "qwen3.attention.head_count_kv": shape.n_kv_heads,
        "qwen3.attention.key_length": shape.head_dim,
        "qwen3.attention.value_length": shape.head_dim,
        "qwen3.attention.layer_norm_rms_epsilon": gguf.Float(shape.norm_eps),
        "qwen3.rope.freq_base": gguf.Float(shape.rope_theta),
        **({"qwen3.nextn_predict_layers": 1} if with_mtp else {}),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": [" ".join(merge) for merge in vocabulary["merges"]],
        "tokenizer.ggml.eos_token_id": tokens.index(IM_END),
        "tokenizer.ggml.padding_token_id": tokens.index(END_OF_TEXT),
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": (HERE / "chat_template.jinja").read_text().rstrip("\n"),
    }


def write_gguf(model, tokenizer_file, path, with_mtp=True):
    """Writes the file, reads it back and compares; returns its size."""
    table = names(model.shape.n_layers)
    state = {name.removesuffix(".weight"): value.float().numpy() for name, value in model.state_dict().items()}
    assert set(state) == set(table), "a parameter without a GGUF name"
    tensors = {f"{table[name]}.weight": value for name, value in state.items() if with_mtp or not name.startswith("mtp.")}
    information = metadata(model.shape, tokenizer_file, with_mtp)
    size = gguf.write(path, information, tensors)
    check_gguf(path, information, tensors)
    return size


def check_gguf(path, information, tensors):
    """What is read equals what was written: metadata exactly, weights within half a quantisation step."""
    read = gguf.Reader(path)
    assert list(read.metadata) == list(information) and list(read.tensors) == list(tensors)
    for key, value in information.items():
        close = np.isclose(read.metadata[key], value, rtol=1e-6) if isinstance(value, float) else read.metadata[key] == value
        assert close, f"{path}: metadata {key}"
    for name, array in tensors.items():
        got = read.tensors[name]
        assert got.shape == array.shape, f"{path}: shape of {name}"
        bound = np.abs(array).reshape(-1, gguf.BLOCK).max(axis=1) / 127 * 0.51 + 1e-3 * np.abs(array).max() if array.ndim == 2 else 0
        assert (np.abs(got - array).reshape(len(bound) if array.ndim == 2 else 1, -1).max(axis=1) <= bound).all(), f"{path}: values of {name}"


def read_model(path):
    """(model with the file's dequantised weights, reader). A file without the extra layer leaves that layer as initialised."""
    read = gguf.Reader(path)
    get = lambda key: read.metadata[f"qwen3.{key}"]
    n_layers = get("block_count") - read.metadata.get("qwen3.nextn_predict_layers", 0)
    shape = Shape(vocab_size=len(read.metadata["tokenizer.ggml.tokens"]), dim=get("embedding_length"), n_layers=n_layers,
                  n_heads=get("attention.head_count"), n_kv_heads=get("attention.head_count_kv"), head_dim=get("attention.key_length"),
                  ffn_dim=get("feed_forward_length"), max_context=get("context_length"), rope_theta=get("rope.freq_base"),
                  norm_eps=get("attention.layer_norm_rms_epsilon"))
    model = Model(shape)
    state = {f"{ours}.weight": torch.from_numpy(read.tensors[f"{theirs}.weight"].copy()) for ours, theirs in names(n_layers).items()
             if f"{theirs}.weight" in read.tensors}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all(name.startswith("mtp.") for name in missing), missing
    return model, read


def tokenizer_of(read):
    """The tokenizer that a GGUF file's metadata describes."""
    tokens, kinds = read.metadata["tokenizer.ggml.tokens"], read.metadata["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in read.metadata["tokenizer.ggml.merges"]]
    vocabulary = {token: i for i, (token, kind) in enumerate(zip(tokens, kinds)) if kind == NORMAL}
    return assemble(tokenizers.models.BPE(vocab=vocabulary, merges=merges))


def write_hf(gguf_file, folder):
    """A folder that transformers loads: float32 weights, tokenizer, template. The extra layer's tensors are included under mtp."""
    model, read = read_model(gguf_file)
    folder.mkdir(parents=True, exist_ok=True)
    shape = model.shape
    eos, pad = read.metadata["tokenizer.ggml.eos_token_id"], read.metadata["tokenizer.ggml.padding_token_id"]
    config = {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": shape.vocab_size, "hidden_size": shape.dim,
        "intermediate_size": shape.ffn_dim, "num_hidden_layers": shape.n_layers, "num_attention_heads": shape.n_heads,
        "num_key_value_heads": shape.n_kv_heads, "head_dim": shape.head_dim, "hidden_act": "silu",
        "max_position_embeddings": shape.max_context, "rope_theta": shape.rope_theta, "rms_norm_eps": shape.norm_eps,
        "tie_word_embeddings": True, "attention_bias": False, "attention_dropout": 0.0, "use_sliding_window": False,
        "bos_token_id": None, "eos_token_id": eos, "pad_token_id": pad, "torch_dtype": "float32", "initializer_range": 0.02,
    }
    tokenizer_config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": IM_END, "pad_token": END_OF_TEXT, "bos_token": None,
                        "model_max_length": shape.max_context, "add_bos_token": False, "clean_up_tokenization_spaces": False,
                        "chat_template": read.metadata["tokenizer.chat_template"]}
    generation = {"eos_token_id": [eos, pad], "pad_token_id": pad, "do_sample": False}
    for name, value in (("config", config), ("tokenizer_config", tokenizer_config), ("generation_config", generation)):
        (folder / f"{name}.json").write_text(json.dumps(value, indent=2) + "\n")
    tokenizer_of(read).save(str(folder / "tokenizer.json"))
    save_file({name: value.numpy() for name, value in model.state_dict().items()}, folder / "model.safetensors", metadata={"format": "pt"})


def mixed(first, second, share):
    """The model whose weights lie between those of two files, at `share` of the way from the first to the second."""
    (model, _), (other, _) = read_model(first), read_model(second)
    ours, theirs = model.state_dict(), other.state_dict()
    model.load_state_dict({name: (1 - share) * value + share * theirs[name] for name, value in ours.items()})
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    to_gguf = commands.add_parser("gguf")
    to_gguf.add_argument("--checkpoint", type=Path, required=True)
    to_gguf.add_argument("--tokenizer", type=Path, required=True)
    to_gguf.add_argument("--without-mtp", action="store_true")
    to_hf = commands.add_parser("hf")
    to_hf.add_argument("--gguf", type=Path, required=True)
    to_mix = commands.add_parser("mix")
    to_mix.add_argument("--gguf", type=Path, nargs=2, required=True)
    to_mix.add_argument("--share", type=float, required=True, help="of the second file's weights; the rest is the first's")
    to_mix.add_argument("--tokenizer", type=Path, required=True)
    to_mix.set_defaults(without_mtp=False)
    for command in (to_gguf, to_hf, to_mix):
        command.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if options.command == "hf":
        write_hf(options.gguf, options.out)
        return
    from train import load_model

    model = mixed(*options.gguf, options.share) if options.command == "mix" else load_model(options.checkpoint)[0]
    size = write_gguf(model, options.tokenizer, options.out, not options.without_mtp)
    print(f"{options.out}: {size:,} bytes")
    assert size <= MAX_BYTES, f"more than {MAX_BYTES:,} bytes"


if __name__ == "__main__":
    main()
