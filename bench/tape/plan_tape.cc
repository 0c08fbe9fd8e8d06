// plan_tape CONFIG.json OUT [STEPS]: lowers the model of a config, checks that the tape is the plan stage by stage, and
// writes the shape for `tape_bench plan OUT`. With STEPS the reference executor decodes as many tokens greedily with
// the tape's own generated weights, and its tokens and logits go along, to be compared on the GPU.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <numeric>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "exec/ref_executor.h"
#include "from_plan.h"
#include "generator.cuh"
#include "kernels/ref/ref.h"
#include "models/arch.h"
#include "weights/checkpoint_slots.h"

namespace arc::tape {
namespace {

constexpr int kFirstToken = 7;
constexpr uint64_t kWeightsBase = 1 << 20;  // any address but 0, which means absent

Plan lower_config(const char* path) {
  const Config config(parse_json(read_text_file(path), path));
  const Arch& arch = find_arch(config.architecture());
  const ModelSpec spec = arch.build(config);
  return lower(
      spec, ShapeOnlySlots(arch.own_names, spec.tied_head, DType::bf16),
      {.kernels = &ref::kernels(), .policy = [](int) { return KvPolicy::raw_of(DType::bf16); }, .fused = true});
}

const TensorInfo& tensor_at(const Tape& tape, uint64_t address) {
  for (const TensorInfo& t : tape.tensors) {
    if (t.address == address) return t;
  }
  throw Error(ErrorCode::corrupt_data, "a tape stage reads a tensor that is not in the tape's list");
}

// The tape's values of one tensor, row by row as the generator has them. Gate and up alternate on the tape and lie one
// below the other in the plan.
Linear generated_matrix(const TensorInfo& t, bool gate_up) {
  Linear linear{.format = WeightFormat::plain(DType::bf16),
                .out = t.n_rows,
                .in = t.n_columns,
                .data = Tensor::zeros({t.n_rows, t.n_columns}, DType::bf16)};
  const uint32_t half = t.n_rows / 2;
  for (uint32_t r = 0; r < t.n_rows; ++r) {
    const uint32_t source = gate_up ? (r < half ? 2 * r : 2 * (r - half) + 1) : r;
    for (uint32_t c = 0; c < t.n_columns; ++c) {
      linear.data.as<uint16_t>()[int64_t{r} * t.n_columns + c] =
          float_to_bf16(generated(t.seed, source, c, t.amplitude));
    }
  }
  return linear;
}

Linear generated_gains(const TensorInfo& t) {
  Linear linear{.format = WeightFormat::plain(DType::f32),
                .out = 1,
                .in = t.n_columns,
                .data = Tensor::zeros({t.n_columns}, DType::f32)};
  for (uint32_t c = 0; c < t.n_columns; ++c) linear.data.as<float>()[c] = 1.0f + generated(t.seed, 0, c, t.amplitude);
  return linear;
}

// The norm in front of a product stands on the tape with the stage before it that wrote the residual.
uint64_t norm_address(const Tape& tape, size_t stage) {
  while (tape.stages[--stage].op == Op::attend || tape.stages[stage].weights[kNextNorm].address == 0) continue;
  return tape.stages[stage].weights[kNextNorm].address;
}

LoadedWeights generated_weights(const Plan& plan, const Tape& tape) {
  LoadedWeights loaded;
  loaded.weights.resize(plan.weights.size());
  size_t i = 0;  // tape stage
  for (const Stage& stage : plan.stages) {
    if (std::holds_alternative<GatherArgs>(stage.args)) continue;
    const TapeStage& on_tape = tape.stages[i];
    if (on_tape.op == Op::attend) {
      for (int k : {kQNorm, kKNorm})
        loaded.weights[stage.weights[k]] = generated_gains(tensor_at(tape, on_tape.weights[k].address));
    } else {
      const bool gate_up = on_tape.op == Op::product && on_tape.product.epilogue == Epilogue::silu_mul;
      loaded.weights[stage.weights[0]] = generated_matrix(tensor_at(tape, on_tape.weights[kMatrix].address), gate_up);
      if (stage.weights[1] != kNone)
        loaded.weights[stage.weights[1]] = generated_gains(tensor_at(tape, norm_address(tape, i)));
    }
    ++i;
  }
  for (size_t w = 0; w < plan.weights.size(); ++w) {
    const WeightSlot& slot = plan.weights[w];
    if (slot.role != WeightSlot::Role::constant) continue;
    loaded.weights[w] = {.format = slot.format, .out = 1, .in = slot.in, .data = Tensor::zeros({slot.in}, DType::f64)};
    std::copy(slot.values.begin(), slot.values.end(), loaded.weights[w].data.as<double>());
  }
  return loaded;
}

// One token at a time from an empty cache, as the tape does it.
void decode(const Plan& plan, const Tape& tape, int n_steps, std::ofstream& out) {
  RefExecutor executor({{.plan = plan, .weights = generated_weights(plan, tape)}}, {.tokens = 1, .rows = 1});
  const int n_blocks = 1 + n_steps / kTileTokens + 1;
  CacheCapacity capacity;
  capacity.blocks.fill(n_blocks);
  executor.allocate_cache(capacity);
  std::vector<int32_t> table(n_blocks);
  std::iota(table.begin(), table.end(), 0);
  int32_t token = kFirstToken;
  for (int32_t position = 0; position < n_steps; ++position) {
    const int32_t q_start[2] = {0, 1}, seq_len = position + 1, row = 0;
    const int64_t slot = position;
    const SamplingRow greedy{.temperature = 0.0f};
    StepInputs inputs{.n_seqs = 1,
                      .n_tokens = 1,
                      .n_rows = 1,
                      .tokens = &token,
                      .positions = &position,
                      .q_start = q_start,
                      .seq_lens = &seq_len};
    inputs.rows = &row;
    inputs.sampling = &greedy;
    inputs.groups[0] = {.block_table = table.data(), .table_stride = n_blocks, .slots = &slot};
    std::vector<RowResult> results(1);
    executor.run(inputs, results);
    token = results[0].token;
    const TensorView logits = executor.buffer(plan.logits);
    out.write(reinterpret_cast<const char*>(&token), sizeof token);
    out.write(reinterpret_cast<const char*>(logits.data), static_cast<std::streamsize>(logits.cols * sizeof(float)));
  }
}

int run(int argc, char** argv) {
  if (argc < 3) {
    fmt::print("plan_tape CONFIG.json OUT [STEPS]\n");
    return 2;
  }
  const Plan plan = lower_config(argv[1]);
  const Shape shape = shape_of(plan);
  const Tape tape = build_tape(shape, {.n_sms = 132, .max_tokens = 4096},
                               {.weights = kWeightsBase, .cache = kWeightsBase, .buffers = kWeightsBase});
  check_same(plan, tape);
  const int n_steps = argc > 3 ? std::atoi(argv[3]) : 0;
  std::ofstream out(argv[2], std::ios::binary);
  const uint32_t header[] = {shape.n_layers,
                             shape.dim,
                             shape.n_heads,
                             shape.n_kv_heads,
                             shape.ffn,
                             shape.vocab,
                             static_cast<uint32_t>(n_steps)};
  out.write(reinterpret_cast<const char*>(header), sizeof header);
  out.write(reinterpret_cast<const char*>(&shape.eps), sizeof shape.eps);
  out.write(reinterpret_cast<const char*>(&shape.rope_theta), sizeof shape.rope_theta);
  if (n_steps > 0) decode(plan, tape, n_steps, out);
  fmt::print(
      "{}: {} plan stages are {} tape records of {} bytes, the same stage by stage; {:.2f} GB of weights a token\n",
      argv[1], plan.stages.size(), tape.stages.size(), sizeof(TapeStage),
      static_cast<double>(total_cost(plan).weight_bytes) / 1e9);
  return 0;
}

}  // namespace
}  // namespace arc::tape

int main(int argc, char** argv) {
  try {
    return arc::tape::run(argc, argv);
  } catch (const std::exception& e) {
    fmt::print(stderr, "plan_tape: {}\n", e.what());
    return 1;
  }
}
