#include "exec/cuda/cuda_executor.h"

#include <algorithm>
#include <cstdlib>
#include <cuda_runtime.h>
#include <limits>
#include <utility>
#include <vector>

#include "fmt/format.h"

#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "exec/cuda/cuda_backend.h"
#include "exec/sample_row.h"
#include "kernels/cuda/cuda_kernels.h"

namespace arc {
namespace {

constexpr int64_t kRingEntries = 1 << 16;

cudaStream_t stream_of(void* stream) {
  return static_cast<cudaStream_t>(stream);
}

bool wants_hidden(const StepInputs& inputs) {
  const auto wanted = [](const float* row) { return row != nullptr; };
  return inputs.row_hidden != nullptr && std::any_of(inputs.row_hidden, inputs.row_hidden + inputs.n_rows, wanted);
}

}  // namespace

CudaExecutor::CudaExecutor(Plan plan, LoadedWeights weights, const StepCapacity& capacity, const CudaDevice& device)
    : plan_(std::move(plan)),
      weights_(std::move(weights)),
      capacity_(capacity),
      info_(device),
      bound_(plan_, capacity, device.device()),
      upload_(plan_, capacity),
      scratch_(Storage::allocate(static_cast<size_t>(gpu::scratch_bytes(plan_, capacity)), device.device())),
      hidden_(Tensor::zeros({capacity.rows, plan_.dim}, DType::f32)),
      logits_(Tensor::zeros({sampled_rows(plan_, capacity), plan_.vocab}, DType::f32)),
      device_sampler_(sampled_rows(plan_, capacity), plan_.vocab, device.device()),
      sampler_(plan_.vocab),
      decode_(plan_) {
  for (const Stage& stage : plan_.stages) ARC_CHECK(stage.launch != nullptr) << op_name(stage.args);
  cudaStream_t stream = nullptr;
  if (cudaStreamCreate(&stream) != cudaSuccess) throw Error(ErrorCode::resource, "the GPU gives no stream");
  stream_ = stream;
  // A lease that waits for its reader in vain leaves recurrent states a step ahead: it never has to wait.
  static_assert(kLeaseSteps * cuda::kMaxLoopRows <= kRingEntries);
  loop_.emplace(max_bucket(), kRingEntries, device.device());
  make_tape();
}

CudaExecutor::~CudaExecutor() {
  cudaStreamDestroy(stream_of(stream_));
}

void CudaExecutor::allocate_cache(const CacheCapacity& capacity) {
  buckets_.clear();  // they hold addresses of the cache
  cache_.emplace(plan_.groups, capacity, info_.device());
  bound_.bind(plan_, weights_, *cache_);
  find_rounded();
  if (tape_) tape_->bind(plan_, weights_, *cache_, bound_);
}

// Where the next stage alone reads what a stage writes, the two may agree on another form.
void CudaExecutor::find_rounded() {
  const auto readers = [&](const BufferRef& written) {
    int n = 0;
    for (const Stage& stage : plan_.stages) {
      n += static_cast<int>(std::ranges::count_if(stage.reads, [&](const BufferRef& read) {
        return read.buffer == written.buffer && read.version == written.version;
      }));
    }
    return n;
  };
  rounded_.assign(plan_.stages.size(), 0);
  const StepInputs none;
  for (size_t i = 0; i + 1 < plan_.stages.size(); ++i) {
    const Stage &stage = plan_.stages[i], &next = plan_.stages[i + 1];
    const BufferRef &written = stage.writes[0], &read = next.reads[0];
    if (written.buffer == kNone || written.buffer != read.buffer || written.version != read.version ||
        written.col != read.col || written.cols != read.cols || readers(written) != 1)
      continue;
    rounded_[i] = static_cast<char>(
        cuda::passes_rounded(stage.args, bound_.operands(i, none), next.args, bound_.operands(i + 1, none)));
  }
}

// ARC_CUDA_DECODE=launches: no tape for steps of one sequence.
void CudaExecutor::make_tape() {
  const char* wanted = std::getenv("ARC_CUDA_DECODE");
  if (wanted != nullptr && std::string_view(wanted) != "launches") {
    throw Error(ErrorCode::invalid_argument, fmt::format("ARC_CUDA_DECODE={} is not \"launches\"", wanted));
  }
  use_tape_ = wanted == nullptr;
  try {
    tape_.emplace(plan_, info_);
  } catch (const Error& error) {
    no_tape_ = error.what();
  }
}

void CudaExecutor::set_tape(bool on) {
  if (on != use_tape_) buckets_.clear();
  use_tape_ = on;
}

// Whether all that a step is asked for comes from the tape.
bool CudaExecutor::by_tape(const StepInputs& inputs) const {
  return tape_ && use_tape_ && !observer_ && inputs.n_rows == 1 && is_decode(inputs) && !wants_hidden(inputs);
}

// The stream waits for the copies: both are in order with the default stream.
void CudaExecutor::swap_out(std::span<const StepCopy> copies) noexcept {
  for (const StepCopy& copy : copies) cache_->swap_out(copy);
}
void CudaExecutor::swap_in(std::span<const StepCopy> copies) noexcept {
  for (const StepCopy& copy : copies) cache_->swap_in(copy);
}

// Whether the device is well; if not, the log says what it was at: `stage`, or null: anywhere in the step.
bool CudaExecutor::works(int32_t error, const Stage* stage) const {
  if (error == cudaSuccess) return true;
  const auto* name = cudaGetErrorName(static_cast<cudaError_t>(error));
  const auto* text = cudaGetErrorString(static_cast<cudaError_t>(error));
  if (stage == nullptr) {
    log_error("GPU fault in a step: {}: {}", name, text);
  } else {
    log_error("GPU fault at stage {} ({}, layer {}): {}: {}", stage - plan_.stages.data(), op_name(stage->args),
              stage->layer, name, text);
  }
  return false;
}

Operands CudaExecutor::operands(size_t stage, const StepInputs& on_device) const {
  Operands operands = bound_.operands(stage, on_device);
  operands.stream = stream_;
  operands.scratch = scratch_->data();
  if (observer_) return operands;
  operands.rounded_in = stage > 0 && rounded_[stage - 1] != 0;
  operands.rounded_out = rounded_[stage] != 0;
  return operands;
}

// Queues stages [i, end), the first alone or with the one behind it; how many those were.
size_t CudaExecutor::launch(size_t i, size_t end, const StepInputs& on_device) {
  const Operands first = operands(i, on_device);
  if (i + 1 < end &&
      cuda::run_together(plan_.stages[i].args, first, plan_.stages[i + 1].args, operands(i + 1, on_device))) {
    return 2;
  }
  plan_.stages[i].launch(plan_.stages[i].args, first);
  return 1;
}

bool CudaExecutor::launch_stages(const StepInputs& on_device) {
  for (size_t i = 0; i < plan_.stages.size();) {
    const Stage* stage = &plan_.stages[i];
    const size_t n = launch(i, observer_ ? i + 1 : plan_.stages.size(), on_device);
    if (!works(cudaGetLastError(), stage)) return false;
    i += n;
    if (observer_) observer_(i - 1);
  }
  return sample(on_device);
}

bool CudaExecutor::sample(const StepInputs& on_device) {
  if (on_device.n_rows > 0 && plan_.logits != kNone) {
    const TensorView logits = bound_.buffer(plan_.logits);
    device_sampler_.launch(static_cast<const float*>(logits.data), on_device.n_rows, stream_);
  }
  return works(cudaGetLastError(), nullptr);
}

bool CudaExecutor::launch_step(const StepInputs& on_device, bool tape) {
  if (!tape) return launch_stages(on_device);
  return works(tape_->launch(on_device, stream_, tape_->tape().stages.size()), nullptr) && sample(on_device);
}

bool CudaExecutor::run_stages(const StepInputs& inputs) {
  const StepInputs& on_device = upload_.upload(inputs, stream_);
  if (plan_.logits != kNone) device_sampler_.upload(inputs, stream_);
  bound_.set_rows(plan_, inputs);
  return launch_step(on_device, by_tape(inputs));
}

bool CudaExecutor::run_graph(const StepInputs& inputs) {
  const Bucket* bucket = bucket_for(inputs);
  if (bucket == nullptr) return run_stages(inputs);
  const StepInputs& padded = decode_.pad(inputs, bucket->n_rows);
  upload_.upload(padded, stream_);
  device_sampler_.upload(padded, stream_);
  return works(cudaGraphLaunch(static_cast<cudaGraphExec_t>(bucket->step.exec()), stream_of(stream_)), nullptr);
}

// Queues the copy of all rows after the final norm, if any is wanted.
void CudaExecutor::fetch_hidden(const StepInputs& inputs) {
  if (!wants_hidden(inputs)) return;
  const TensorView hidden = bound_.buffer(plan_.hidden);
  cudaMemcpyAsync(hidden_.data(), hidden.data, static_cast<size_t>(inputs.n_rows * hidden.cols) * sizeof(float),
                  cudaMemcpyDeviceToHost, stream_of(stream_));
}

// Waits for the step and takes its tokens; the host samples the rows for which the device has no room.
bool CudaExecutor::finish(const StepInputs& inputs, std::span<RowResult> results) {
  const size_t row_bytes = static_cast<size_t>(plan_.vocab) * sizeof(float);
  const auto* logits = static_cast<const std::byte*>(bound_.buffer(plan_.logits).data);
  const bool samples = plan_.logits != kNone;
  fetch_hidden(inputs);
  if (inputs.n_rows > 0 && samples) device_sampler_.fetch(stream_);
  for (int32_t r = 0; samples && r < inputs.n_rows; ++r) {
    if (!device_sampler_.on_host(r)) continue;
    cudaMemcpyAsync(logits_.data() + r * row_bytes, logits + r * row_bytes, row_bytes, cudaMemcpyDeviceToHost,
                    stream_of(stream_));
  }
  if (!works(cudaStreamSynchronize(stream_of(stream_)), nullptr) || !works(cudaGetLastError(), nullptr)) return false;
  for (int32_t r = 0; r < inputs.n_rows; ++r) {
    copy_hidden(inputs, hidden_.view(), r);
    if (!samples) {
      results[r].outcome = SampleOutcome::ok;
    } else if (device_sampler_.on_host(r)) {
      sample_row(sampler_, inputs, logits_.view(), r, results[r]);
      ++n_host_rows_;
    } else {
      device_sampler_.result(r, results[r]);
    }
  }
  return true;
}

RunOutcome CudaExecutor::run(const StepInputs& inputs, std::span<RowResult> results) noexcept {
  ARC_CHECK(inputs.n_tokens <= capacity_.tokens && inputs.n_rows <= capacity_.rows) << inputs.n_tokens << " tokens";
  cudaSetDevice(info_.index);  // of this thread
  for (int32_t i = 0; i < inputs.n_copies; ++i) cache_->copy(inputs.copies[i]);
  const bool graph = use_graphs_ && plan_.logits != kNone && !observer_ && is_decode(inputs) &&
                     inputs.n_rows <= max_bucket() && !wants_hidden(inputs);
  const bool ran = graph ? run_graph(inputs) : run_stages(inputs);
  return ran && finish(inputs, results) ? RunOutcome::ok : RunOutcome::device_fault;
}

// ---- captured steps ------------------------------------------------------------------------------------------------

int32_t CudaExecutor::max_bucket() const {
  const int32_t seqs = capacity_.seqs > 0 ? capacity_.seqs : capacity_.tokens;
  return std::min({capacity_.tokens, capacity_.rows, seqs, static_cast<int32_t>(cuda::kMaxLoopRows)});
}

// Rounded up to a power of two. Null: CUDA makes no graph of it.
CudaExecutor::Bucket* CudaExecutor::bucket_for(const StepInputs& inputs) {
  if (!no_graphs_.empty()) return nullptr;
  int32_t n_rows = 1;
  while (n_rows < inputs.n_rows) n_rows *= 2;
  n_rows = std::min(n_rows, max_bucket());
  std::vector<int32_t> strides;
  for (size_t g = 0; g < plan_.groups.size(); ++g) strides.push_back(inputs.groups[g].table_stride);
  for (const auto& bucket : buckets_) {
    if (bucket->n_rows == n_rows && bucket->strides == strides) return bucket.get();
  }
  auto bucket = std::make_unique<Bucket>(Bucket{.n_rows = n_rows, .strides = strides});
  bool captured = capture(*bucket, inputs);
  if (!captured && by_tape(inputs)) {  // under MPS no graph takes a grid that must be resident
    no_tape_ = std::exchange(no_graphs_, {});
    tape_.reset();
    captured = capture(*bucket, inputs);
  }
  if (!captured) {
    log_error("the GPU's driver takes no graphs: {}", no_graphs_);
    return nullptr;
  }
  return buckets_.emplace_back(std::move(bucket)).get();
}

// Runs a step of idle rows first: what it launches is loaded then, and addresses are known.
bool CudaExecutor::capture(Bucket& bucket, const StepInputs& inputs) {
  StepInputs none = inputs;
  none.n_rows = 0;
  const StepInputs& idle = decode_.pad(none, bucket.n_rows);
  const bool idle_runs = run_stages(idle) && works(cudaStreamSynchronize(stream_of(stream_)), nullptr);
  if (!idle_runs) {
    no_graphs_ = "a step of idle rows failed";
    return false;
  }
  const StepInputs& on_device = upload_.upload(idle, stream_);
  bound_.set_rows(plan_, idle);
  const bool tape = by_tape(idle);
  const auto step = [&] { launch_step(on_device, tape); };
  bucket.step = capture_graph(stream_, step, no_graphs_);
  if (bucket.step) {
    bucket.loop =
        loop_->capture(advance_call(on_device), stream_, [&](const cuda::AdvanceCall&) { step(); }, no_graphs_);
  }
  return no_graphs_.empty();
}

cuda::AdvanceCall CudaExecutor::advance_call(const StepInputs& on_device) {
  cuda::AdvanceCall call{.n_rows = on_device.n_rows,
                         .n_groups = static_cast<int32_t>(plan_.groups.size()),
                         .vocab = plan_.vocab,
                         .drawn = device_sampler_.drawn(),
                         .tokens = const_cast<int32_t*>(on_device.tokens),
                         .positions = const_cast<int32_t*>(on_device.positions),
                         .seq_lens = const_cast<int32_t*>(on_device.seq_lens),
                         .sampling = device_sampler_.rows(),
                         .counts = device_sampler_.counts()};
  for (size_t g = 0; g < plan_.groups.size(); ++g) {
    const GroupInputs& group = on_device.groups[g];
    cuda::AdvanceCall::Group& to = call.groups[g];
    if (plan_.groups[g].kind == CacheKind::state) {
      to.state_read = const_cast<int32_t*>(group.state_read);
      to.state_write = const_cast<int32_t*>(group.state_write);
    } else {
      to.table = group.block_table;
      to.stride = group.table_stride;
      to.tokens_per_block = plan_.groups[g].policy.tile_tokens;
      to.slots = const_cast<int64_t*>(group.slots);
    }
  }
  return call;
}

// ---- leases --------------------------------------------------------------------------------------------------------

bool CudaExecutor::can_lease(const StepInputs& inputs) noexcept {
  if (!no_graphs_.empty() || plan_.logits == kNone || inputs.control == nullptr || !is_decode(inputs) ||
      inputs.n_rows > max_bucket())
    return false;
  if (inputs.control->n_stop_ids > TokenLoop::kMaxStopIds) return false;
  for (int32_t r = 0; r < inputs.n_rows; ++r) {
    const bool given = inputs.row_token != nullptr && inputs.row_token[r] >= 0;
    const bool hidden = inputs.row_hidden != nullptr && inputs.row_hidden[r] != nullptr;
    // The most likely tokens do not fit the ring; a mask is good for one token.
    if (given || hidden || inputs.sampling[r].n_logprobs > 0 || inputs.sampling[r].mask_row >= 0) return false;
  }
  cudaSetDevice(info_.index);
  return DeviceSampler::has_room(inputs) && bucket_for(inputs) != nullptr;
}

RunOutcome CudaExecutor::run_lease(const StepInputs& inputs, const LeaseSink& sink) noexcept {
  cudaSetDevice(info_.index);
  for (int32_t i = 0; i < inputs.n_copies; ++i) cache_->copy(inputs.copies[i]);
  const Bucket* bucket = bucket_for(inputs);
  if (bucket == nullptr) return RunOutcome::device_fault;
  const StepInputs& padded = decode_.pad(inputs, bucket->n_rows);
  upload_.upload(padded, stream_);
  device_sampler_.upload(padded, stream_);
  const LoopControl& control = *inputs.control;
  loop_rows_.assign(static_cast<size_t>(bucket->n_rows), {});
  stop_ids_.assign(static_cast<size_t>(bucket->n_rows) * control.n_stop_ids, -1);
  std::copy_n(control.stop_ids, int64_t{inputs.n_rows} * control.n_stop_ids, stop_ids_.begin());
  for (int32_t r = 0; r < inputs.n_rows; ++r) {
    loop_rows_[static_cast<size_t>(r)] = {
        .live = 1,
        .tokens_left = control.tokens_left != nullptr ? control.tokens_left[r] : std::numeric_limits<int32_t>::max()};
  }
  const TokenLoop::End end =
      loop_->run(bucket->loop, stream_,
                 {.lease = control.lease, .rows = loop_rows_, .stop_ids = stop_ids_, .n_stop_ids = control.n_stop_ids},
                 control.attention, [&](std::span<const cuda::RingEntry> entries) {
                   lease_tokens_.clear();
                   for (const cuda::RingEntry& entry : entries) {
                     lease_tokens_.push_back({.row = entry.row,
                                              .token = entry.token,
                                              .logprob = entry.logprob,
                                              .outcome = static_cast<SampleOutcome>(entry.outcome),
                                              .last = entry.last != 0});
                   }
                   sink(lease_tokens_);
                 });
  lease_end_ = end.why;
  return end.outcome;
}

double CudaExecutor::graph_seconds(const StepInputs& inputs, const std::function<bool(const Stage&)>& chosen,
                                   int replays) {
  const auto launch_chosen = [&](const StepInputs& on_device) {
    for (size_t i = 0; i < plan_.stages.size();) {
      size_t end = i;
      while (end < plan_.stages.size() && end < i + 2 && chosen(plan_.stages[end])) ++end;
      i += end > i ? launch(i, end, on_device) : 1;
    }
  };
  return replay_seconds(inputs, launch_chosen, replays);
}

double CudaExecutor::tape_seconds(const StepInputs& inputs, int replays) {
  ARC_CHECK(tape_ && inputs.n_rows == 1) << no_tape_;
  const auto launch = [&](const StepInputs& on_device) {
    tape_->launch(on_device, stream_, tape_->tape().stages.size());
  };
  return replay_seconds(inputs, launch, replays);
}

bool CudaExecutor::run_tape(const StepInputs& inputs, size_t n_stages) {
  cudaSetDevice(info_.index);
  const StepInputs& on_device = upload_.upload(inputs, stream_);
  return works(tape_->launch(on_device, stream_, n_stages), nullptr) &&
         works(cudaStreamSynchronize(stream_of(stream_)), nullptr);
}

double CudaExecutor::replay_seconds(const StepInputs& inputs, const std::function<void(const StepInputs&)>& launch,
                                    int replays) {
  cudaSetDevice(info_.index);
  cudaStream_t stream = stream_of(stream_);
  const StepInputs& on_device = upload_.upload(inputs, stream_);
  bound_.set_rows(plan_, inputs);
  cudaStreamSynchronize(stream);
  cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
  launch(on_device);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t replay = nullptr;
  cudaEvent_t begin = nullptr, end = nullptr;
  cudaStreamEndCapture(stream, &graph);
  cudaGraphInstantiate(&replay, graph, 0);
  cudaEventCreate(&begin);
  cudaEventCreate(&end);
  std::vector<float> ms(static_cast<size_t>(replays) + 2);
  for (float& time : ms) {
    cudaEventRecord(begin, stream);
    cudaGraphLaunch(replay, stream);
    cudaEventRecord(end, stream);
    cudaEventSynchronize(end);
    cudaEventElapsedTime(&time, begin, end);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  if (replay != nullptr) cudaGraphExecDestroy(replay);
  if (graph != nullptr) cudaGraphDestroy(graph);
  if (!works(cudaGetLastError(), nullptr)) throw Error(ErrorCode::resource, "the GPU failed in a graph of stages");
  const auto first = ms.begin() + 2, middle = first + replays / 2;  // behind the warm-ups
  std::nth_element(first, middle, ms.end());
  return *middle * 1e-3;
}

void CudaExecutor::queue_read(BufferId id, int64_t rows, std::byte* pinned) const {
  const TensorView view = bound_.buffer(id);
  cudaMemcpyAsync(pinned, view.data, static_cast<size_t>(rows * view.cols) * dtype_size(view.dtype),
                  cudaMemcpyDeviceToHost, stream_of(stream_));
}

void CudaExecutor::queue_write(BufferId id, int64_t rows, const std::byte* pinned) const {
  const TensorView view = bound_.buffer(id);
  cudaMemcpyAsync(view.data, pinned, static_cast<size_t>(rows * view.cols) * dtype_size(view.dtype),
                  cudaMemcpyHostToDevice, stream_of(stream_));
}

Tensor CudaExecutor::read_buffer(BufferId id, int64_t rows) const {
  cudaStreamSynchronize(stream_of(stream_));
  const TensorView view = bound_.buffer(id);
  Tensor host = Tensor::zeros({rows, view.cols}, view.dtype);
  copy_bytes(host.data(), {}, static_cast<const std::byte*>(view.data), info_.device(), host.size_bytes());
  return host;
}

void CudaExecutor::write_buffer(BufferId id, const TensorView& rows) {
  cudaStreamSynchronize(stream_of(stream_));
  const TensorView view = bound_.buffer(id);
  copy_bytes(static_cast<std::byte*>(view.data), info_.device(), static_cast<const std::byte*>(rows.data), {},
             static_cast<size_t>(rows.rows * view.cols) * dtype_size(view.dtype));
}

std::string CudaExecutor::describe() const {
  const std::string graphs = no_graphs_.empty()
                                 ? fmt::format("decode steps are graphs, up to {} in one launch", kLeaseSteps)
                                 : "no graphs: " + no_graphs_;
  const std::string decode =
      !tape_       ? fmt::format("decode: launches ({})", no_tape_)
      : !use_tape_ ? "decode: launches"
                   : fmt::format("decode: persistent grid on {} SMs for 1 row; batches: launches", tape_->tape().n_sms);
  return fmt::format("CUDA executor on {} (sm_{}, {} SMs): {} stages, sampling on the GPU; {}; {}", info_.name,
                     info_.capability, info_.n_processors, plan_.stages.size(), graphs, decode);
}

}  // namespace arc
