// Builds the tape of a Qwen3-like decoder (pre-norm, GQA with q/k norm, gated SiLU) from its shape. Host only, no CUDA:
// it places every tensor and buffer in three slabs and returns where they are.
#pragma once

#include <cstdint>
#include <vector>

#include "tape.h"

namespace arc::tape {

struct Shape {
  uint32_t n_layers = 0, dim = 0, n_heads = 0, n_kv_heads = 0, ffn = 0, vocab = 0;
  float eps = 1e-6f, rope_theta = 1e6f;
};

// Row groups that an SM publishes together, per kind of product; 0: the builder's choice.
struct PassGroups {
  uint32_t qkv = 0, out = 0, gate_up = 0, down = 0, head = 0;
};

struct BuildOptions {
  uint32_t n_sms = 0;
  uint32_t max_tokens = 0;     // longest context; multiple of block_tokens
  uint32_t block_tokens = 64;  // of a cache block
  bool reuse_buffers = true;   // false: every write of a step has its own address, so that a checker can see them all
  bool keep_logits = false;
  PassGroups pass_groups{};
  uint64_t alignment = 1024;  // of tensors, in bytes
};

// Addresses of the three slabs. Built with zeros, the tape says how large they must be.
struct Slabs {
  uint64_t weights = 0, cache = 0, buffers = 0;
};

// A tensor to be filled at load. Element (r, c) comes from a counter-based generator keyed by (seed, r, c).
struct TensorInfo {
  enum class Kind : uint8_t {
    packed,  // bf16 matrix in tile order
    rows,    // bf16 matrix in row order
    gains,   // f32 vector around 1
    rope,    // f32 pairs (cos, sin) [rows = positions, columns = D / 2]
  };
  Kind kind = Kind::packed;
  uint64_t address = 0;
  uint32_t n_rows = 0, n_columns = 0, seed = 0;
  float amplitude = 0;  // values are uniform in +-amplitude
};

struct Tape {
  Shape shape{};
  BuildOptions options{};
  std::vector<TapeStage> stages;
  std::vector<DealShare> deals;  // [deal][SM]
  std::vector<TensorInfo> tensors;
  uint64_t block_table = 0;  // int32 [max_tokens / block_tokens], in the buffer slab
  Slabs slab_bytes;
  uint32_t n_attends = 0;  // attend stages per step
};

Tape build_tape(const Shape& shape, const BuildOptions& options, const Slabs& slabs);

// Bytes that a step with this many tokens of context (its own included) must read.
double bytes_per_step(const Tape& tape, uint32_t n_context);

}  // namespace arc::tape
