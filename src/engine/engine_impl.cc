#include "engine/engine_impl.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <utility>

#include "fmt/format.h"

#include "base/error.h"
#include "base/log.h"
#include "sample/sampling_params.h"

namespace arc {
namespace {

uint64_t random_seed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

// The request's biases with the tokens that would end the answer forbidden.
std::vector<BiasEntry> forbid(std::vector<BiasEntry> biases, const StopRules& stop) {
  std::vector<int32_t> ids = stop.stop_ids;
  ids.insert(ids.end(), stop.eos_ids.begin(), stop.eos_ids.end());
  for (int32_t id : ids) {
    std::erase_if(biases, [id](const BiasEntry& b) { return b.token == id; });
    biases.push_back({.token = id, .value = -std::numeric_limits<float>::infinity()});
  }
  std::ranges::sort(biases, {}, &BiasEntry::token);
  return biases;
}

double seconds(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

EngineImpl::EngineImpl(LoadedModel model, const EngineConfig& config)
    : model_(std::move(model)),
      config_(config),
      next_seed_(config.seed),
      cache_(model_.cache.geometry, {.prefix_cache = config.prefix_cache, .hash_seed = random_seed()}),
      scheduler_(cache_),
      pacer_({.goal_seconds = 1e-3 * config.step_ms, .most_tokens = model_.max_batched_tokens}),
      batch_(model_.cache.geometry, model_.max_batched_tokens, config.max_seqs, model_.info.max_seq_len),
      results_(static_cast<size_t>(model_.max_batched_tokens)),
      hidden_(model_.head ? static_cast<size_t>(model_.max_batched_tokens) * model_.head->dim() : 0),
      output_(model_.tokenizer, model_.head.get(),
              [this](RequestId id, int32_t choice) { post([&](Commands& c) { c.stopped.emplace_back(id, choice); }); }),
      thread_([this] { loop(); }) {}

EngineImpl::~EngineImpl() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    attention_ = 1;
  }
  wake_.notify_one();
  thread_.join();
}

// ---- any thread ----------------------------------------------------------------------------------------------------

void EngineImpl::post(const std::function<void(Commands&)>& change) {
  {
    const std::lock_guard lock(mutex_);
    change(commands_);
    attention_ = 1;
  }
  wake_.notify_one();
}

std::vector<int32_t> EngineImpl::tokenize(const Prompt& prompt) const {
  if (const auto* tokens = std::get_if<TokenPrompt>(&prompt)) return tokens->tokens;
  if (const auto* text = std::get_if<TextPrompt>(&prompt)) {
    return model_.tokenizer.encode(text->text, {.add_special_tokens = text->add_special_tokens, .parse_special = true});
  }
  return tokenize_chat(model_, std::get<ChatPrompt>(prompt));
}

std::string EngineImpl::detokenize(const std::vector<int32_t>& tokens) const {
  return model_.tokenizer.decode(tokens, false);
}

std::string EngineImpl::token_text(int32_t token) const {
  const std::string* text = model_.tokenizer.token_text(token);
  return text == nullptr ? std::string() : *text;
}

void EngineImpl::read_generation(Request& request, ActiveRequest& active) const {
  if (!model_.info.generates) {
    throw Error(ErrorCode::unsupported,
                fmt::format("{} is an embedding model: it makes vectors (/v1/embeddings), no text", model_.info.name));
  }
  validate(request.sampling, model_.info.vocab_size);
  active.sampling = std::move(request.sampling);
  active.prompt_logits = request.prompt_logits;
  active.prompt = tokenize(request.prompt);
  if (active.prompt_logits != nullptr && !active.sampling.prompt_logprobs) {
    throw Error(ErrorCode::invalid_argument, "prompt_logits needs prompt_logprobs, which makes every position count");
  }
}

// Special tokens around a text stay when it is cut, as in sentence-transformers.
void EngineImpl::read_embedding(const Request& request, ActiveRequest& active) const {
  if (!model_.head) {
    throw Error(ErrorCode::unsupported, fmt::format("{} makes no embeddings: load an embedding model, or say how texts "
                                                    "become vectors, such as with --pooling last",
                                                    model_.info.name));
  }
  const EmbeddingSpec& spec = model_.head->spec();
  const EmbeddingParams& params = *request.embedding;
  if (params.dimensions < 0 || params.dimensions > model_.head->size()) {
    throw Error(ErrorCode::invalid_argument, fmt::format("dimensions is {}; the model's vectors have {} numbers",
                                                         params.dimensions, model_.head->size()));
  }
  active.embedding = params;
  active.sampling = {.temperature = 0.0f, .max_tokens = 0};
  const auto max_tokens = static_cast<size_t>(model_.info.max_seq_len);
  const std::string prompt_name = params.prompt_name.value_or("");
  if (const auto* tokens = std::get_if<TokenPrompt>(&request.prompt)) {
    if (!prompt_name.empty()) {
      throw Error(ErrorCode::invalid_argument, "prompt_name goes with texts: token ids are taken as they are");
    }
    active.prompt = tokens->tokens;
    if (params.truncate && active.prompt.size() > max_tokens) active.prompt.resize(max_tokens);
    return;
  }
  const auto* text = std::get_if<TextPrompt>(&request.prompt);
  if (text == nullptr) throw Error(ErrorCode::invalid_argument, "a conversation has no embedding");
  const std::string& name = params.prompt_name ? prompt_name : spec.default_prompt;
  const auto prompt = spec.prompts.find(name);
  if (!name.empty() && prompt == spec.prompts.end()) {
    std::string known;
    for (const auto& [other, _] : spec.prompts) known += (known.empty() ? "" : ", ") + other;
    throw Error(ErrorCode::invalid_argument,
                fmt::format("the model has no prompt \"{}\"; it has {}", name, known.empty() ? "none" : known));
  }
  EncodeOptions options{.add_special_tokens = text->add_special_tokens};
  if (params.truncate) options.truncation.max_tokens = max_tokens;
  const std::string before = name.empty() ? std::string() : prompt->second;
  active.prompt = model_.tokenizer.encode(before + text->text, options);
  if (before.empty() || spec.pooling.include_prompt) return;
  const std::vector<int32_t> alone = model_.tokenizer.encode(before, options);
  active.pool_from = static_cast<int32_t>(alone.size());
  if (!alone.empty() && model_.tokenizer.is_special(alone.back())) --active.pool_from;
  if (static_cast<size_t>(active.pool_from) >= active.prompt.size()) {
    throw Error(ErrorCode::invalid_argument, "the text has no token besides those of the model's prompt");
  }
}

std::shared_ptr<ActiveRequest> EngineImpl::make_request(Request request, EventSink sink) const {
  auto active = std::make_shared<ActiveRequest>();
  active->sink = std::move(sink);
  active->cache_salt = std::move(request.cache_salt);
  if (request.embedding) {
    read_embedding(request, *active);
  } else {
    read_generation(request, *active);
  }
  active->submitted = Clock::now();
  const auto n_prompt = static_cast<int64_t>(active->prompt.size());
  if (n_prompt == 0) throw Error(ErrorCode::invalid_argument, "the prompt is empty");
  const int32_t least = active->sampling.max_tokens == 0 ? 0 : 1;  // tokens of the answer
  if (active->embedding && n_prompt > model_.info.max_seq_len) {
    throw Error(ErrorCode::prompt_too_long,
                fmt::format("The input has {} tokens; the model reads at most {}.", n_prompt, model_.info.max_seq_len));
  }
  if (n_prompt + least > model_.info.max_seq_len) {
    throw Error(ErrorCode::prompt_too_long,
                fmt::format("The prompt has {} tokens, which leaves no room for an answer: prompt and answer together "
                            "may have {} tokens.",
                            n_prompt, model_.info.max_seq_len));
  }
  for (int32_t token : active->prompt) {
    if (token < 0 || token >= model_.info.vocab_size) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("prompt token {} is outside the vocabulary of {} tokens", token, model_.info.vocab_size));
    }
  }
  const auto room = static_cast<int32_t>(model_.info.max_seq_len - n_prompt);
  active->stop = make_stop_rules(active->sampling, model_.tokenizer.special().stop, room);
  active->biases = sorted_biases(active->sampling);
  active->biases_before_min = forbid(active->biases, active->stop);
  return active;
}

RequestId EngineImpl::submit(Request request, EventSink sink) {
  const std::shared_ptr<ActiveRequest> active = make_request(std::move(request), std::move(sink));
  active->id = next_id_++;
  active->seed = active->sampling.seed ? *active->sampling.seed : next_seed_++;
  {
    const std::lock_guard lock(mutex_);
    if (!fault_.empty()) throw Error(ErrorCode::resource, fault_);
    if (closing_) throw Error(ErrorCode::resource, "the engine is shutting down");
    if (n_open_ >= config_.max_queue + config_.max_seqs) {
      ++stats_.requests_refused;
      throw Error(ErrorCode::resource,
                  fmt::format("{} requests are running or waiting, which is the limit; try again later", n_open_));
    }
    ++n_open_;
    ++stats_.requests_total;
    commands_.added.push_back(active);
    attention_ = 1;
  }
  wake_.notify_one();
  return active->id;
}

void EngineImpl::cancel(RequestId id) {
  post([id](Commands& c) { c.cancelled.push_back(id); });
}

EngineStats EngineImpl::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

bool EngineImpl::healthy(std::string* reason) const {
  const std::lock_guard lock(mutex_);
  if (reason != nullptr) *reason = fault_;
  return fault_.empty();
}

// ---- the engine thread ---------------------------------------------------------------------------------------------

// False when the engine is closing. With `wait`, sleeps until there is a command.
bool EngineImpl::take_commands(bool wait) {
  Commands commands;
  {
    std::unique_lock lock(mutex_);
    if (wait) wake_.wait(lock, [this] { return closing_ || !commands_.empty(); });
    if (closing_) return false;
    std::swap(commands, commands_);
    attention_ = 0;
  }
  turn_began_ = Clock::now();
  for (const auto& request : commands.added) add(request);
  for (RequestId id : commands.cancelled) scheduler_.cancel(id);
  for (const auto& [id, choice] : commands.stopped) {
    const auto it = requests_.find(id);
    if (it != requests_.end()) scheduler_.finish(it->second.first + static_cast<SeqId>(choice));
  }
  return true;
}

int32_t EngineImpl::take_counts_row(const ActiveRequest& request) {
  const size_t vocab = static_cast<size_t>(model_.info.vocab_size);
  if (free_counts_rows_.empty()) {
    free_counts_rows_.push_back(static_cast<int32_t>(counts_.size() / vocab));
    counts_.resize(counts_.size() + vocab);
  }
  const int32_t row = free_counts_rows_.back();
  free_counts_rows_.pop_back();
  const auto begin = counts_.begin() + static_cast<ptrdiff_t>(row * vocab);
  std::fill_n(begin, vocab, 0u);
  for (int32_t token : request.prompt) begin[token] |= kInPrompt;
  return row;
}

void EngineImpl::add(const std::shared_ptr<const ActiveRequest>& request) {
  const int32_t n = request->sampling.n;
  try {
    const SeqId first = scheduler_.add(
        {.request = request->id,
         .prompt = {TokenSegment{request->prompt}},
         .max_new_tokens = request->stop.max_tokens,
         .n = n,
         .cache_salt = request->cache_salt,
         .all_rows = request->sampling.prompt_logprobs || (request->embedding && model_.head->spec().needs_all_rows()),
         .rope_switch = model_.rope_switch,
         .whole = model_.bidirectional});
    requests_[request->id] = {first, n};
    for (int32_t i = 0; i < n; ++i) {
      SamplingRow row = make_sampling_row(request->sampling, request->seed, static_cast<uint32_t>(i));
      row.counts_row = request->penalised() ? take_counts_row(*request) : -1;
      row.n_logprobs = request->n_logprobs();
      choices_[first + static_cast<SeqId>(i)] = {.request = request, .index = i, .row = row};
    }
    if (request->embedding) choices_[first].pooler = model_.head->pooler(request->pool_from);
  } catch (const Error& e) {
    std::vector<OutputItem> items;
    for (int32_t i = 0; i < n; ++i) {
      auto end = std::make_unique<OutputEnd>(OutputEnd{.reason = FinishReason::error, .error = e.what()});
      items.push_back({.request = request, .choice = i, .end = std::move(end)});
    }
    output_.push(std::move(items));
    const std::lock_guard lock(mutex_);
    --n_open_;
    ++stats_.requests_failed;
  }
}

RowSettings EngineImpl::settings_of(Choice& choice) {
  const ActiveRequest& request = *choice.request;
  if (!choice.started) choice.started = Clock::now();
  const bool before_min = choice.n_generated < request.stop.min_tokens;
  return {.row = choice.row,
          .biases = before_min ? &request.biases_before_min : &request.biases,
          .n_prompt_logprobs = request.n_prompt_logprobs(),
          .prompt_logits = request.prompt_logits,
          .vocab = model_.info.vocab_size,
          .hidden = choice.pooler ? hidden_.data() : nullptr,
          .dim = choice.pooler ? model_.head->dim() : 0};
}

// A drawn token of an answer: counted, held against the stop rules, and put into the item for the output thread.
int32_t EngineImpl::take_token(Choice& choice, const RowResult& row, OutputItem& item, bool& stopped) {
  int32_t token = row.token;
  if (row.outcome == SampleOutcome::ok) {
    item.token = token;
    if (choice.request->sampling.logprobs) item.logprobs = row;
  } else {
    choice.error = row.outcome == SampleOutcome::bad_logits ? "the model's output is not a number"
                                                            : "every token is forbidden by the request's biases";
    stopped = true;
    token = model_.tokenizer.special().eos.value_or(0);
  }
  ++n_drawn_;
  ++choice.n_generated;
  if (!choice.first_token) choice.first_token = step_done_;
  if (choice.row.counts_row >= 0)
    ++counts_[static_cast<size_t>(choice.row.counts_row) * model_.info.vocab_size + token];
  const StopCause cause = choice.request->stop.check(token, choice.n_generated);
  item.is_stop_token = cause == StopCause::eos || cause == StopCause::stop_id;
  stopped = stopped || item.is_stop_token;
  return token;
}

void EngineImpl::collect_one(const PlannedSequence& planned, size_t index, SequenceResult& result,
                             std::vector<OutputItem>& items) {
  Choice& choice = *planned_[index];
  const int32_t end = planned.first_position + planned.n_tokens;
  if (choice.pooler) {
    const auto dim = static_cast<size_t>(model_.head->dim());
    const int32_t begin = batch_.row_begin(index);
    for (int32_t i = 0; i < planned.n_rows; ++i) {
      choice.pooler->add(end - planned.n_rows + i, {hidden_.data() + static_cast<size_t>(begin + i) * dim, dim});
    }
    return;
  }
  OutputItem item{.request = choice.request, .choice = choice.index, .made = step_done_};
  for (int32_t r = batch_.row_begin(index); r < batch_.row_begin(index + 1); ++r) {
    const bool last = r + 1 == batch_.row_begin(index + 1) && end == planned.sequence->n_tokens();
    if (last && choice.request->stop.max_tokens == 0) break;  // the prompt was all that was asked for
    RowResult& row = results_[r];
    if (row.outcome == SampleOutcome::ok && !last) {
      item.prompt_logprobs.push_back(row);
      continue;
    }
    drawn_[index] = take_token(choice, row, item, result.stopped);
    result.tokens = {&drawn_[index], 1};
    break;
  }
  if (item.token >= 0 || !item.prompt_logprobs.empty()) items.push_back(std::move(item));
}

void EngineImpl::collect(const StepPlan& plan, StepResult& result, std::vector<OutputItem>& items) {
  items.reserve(plan.sequences.size());
  drawn_.assign(plan.sequences.size(), -1);
  result.sequences.resize(plan.sequences.size());
  for (size_t i = 0; i < plan.sequences.size(); ++i) collect_one(plan.sequences[i], i, result.sequences[i], items);
}

// Fills the control of a lease and gives it to the batch. False: the plan is a single step.
bool EngineImpl::prepare_lease(const StepPlan& plan) {
  batch_.set_control(&lease_.control);
  lease_.control = {.lease = 1, .attention = &attention_};
  const size_t n = plan.sequences.size();
  size_t n_stop_ids = 0;
  for (size_t i = 0; i < n; ++i) {
    const StopRules& stop = planned_[i]->request->stop;
    if (stop.max_tokens == 0) return false;  // it makes no token
    lease_.control.lease = std::max(lease_.control.lease, plan.sequences[i].lease_tokens);
    n_stop_ids = std::max(n_stop_ids, stop.stop_ids.size() + (stop.ignore_eos ? 0 : stop.eos_ids.size()));
  }
  if (lease_.control.lease == 1) return false;
  lease_.stop_ids.assign(n * n_stop_ids, -1);
  lease_.tokens_left.clear();
  for (size_t i = 0; i < n; ++i) {
    const Choice& choice = *planned_[i];
    const StopRules& stop = choice.request->stop;
    // Biases change, and stop ids begin to count, where min_tokens are there: a lease does not cross that.
    const int32_t before_min = stop.min_tokens - choice.n_generated, n_tokens = plan.sequences[i].lease_tokens;
    lease_.tokens_left.push_back(before_min > 0 ? std::min(before_min, n_tokens) : n_tokens);
    if (before_min > 0) continue;
    const auto at = lease_.stop_ids.begin() + static_cast<ptrdiff_t>(i * n_stop_ids);
    const auto end = std::ranges::copy(stop.stop_ids, at).out;
    if (!stop.ignore_eos) std::ranges::copy(stop.eos_ids, end);
  }
  lease_.control.stop_ids = lease_.stop_ids.data();
  lease_.control.n_stop_ids = static_cast<int32_t>(n_stop_ids);
  lease_.control.tokens_left = lease_.tokens_left.data();
  return true;
}

// Steps without this thread: it only passes tokens on. The first sequence that stops ends the lease.
RunOutcome EngineImpl::run_lease(const StepPlan& plan, const StepInputs& inputs, StepResult& result) {
  const size_t n = plan.sequences.size();
  result.sequences.resize(n);
  lease_.tokens.resize(std::max(lease_.tokens.size(), n));
  for (auto& tokens : lease_.tokens) tokens.clear();
  const RunOutcome outcome = model_.executor->run_lease(inputs, [&](std::span<const LeaseToken> tokens) {
    step_done_ = Clock::now();
    std::vector<OutputItem> items;
    items.reserve(tokens.size());
    for (const LeaseToken& t : tokens) {
      const auto row = static_cast<size_t>(t.row);
      Choice& choice = *planned_[row];
      OutputItem item{.request = choice.request, .choice = choice.index, .made = step_done_};
      const RowResult drawn{.outcome = t.outcome, .token = t.token, .logprob = t.logprob};
      lease_.tokens[row].push_back(take_token(choice, drawn, item, result.sequences[row].stopped));
      if (item.token >= 0) items.push_back(std::move(item));
      if (t.last) attention_ = 1;
    }
    output_.push(std::move(items));
  });
  for (size_t i = 0; i < n; ++i) {
    result.sequences[i].tokens = lease_.tokens[i];
    n_lease_steps_ = std::max(n_lease_steps_, static_cast<int64_t>(lease_.tokens[i].size()));
  }
  return outcome;
}

// What the step took, for the next ones.
void EngineImpl::pace(const StepPlan& plan) {
  int32_t n_prompt_tokens = 0, n_decoding = 0;
  for (const PlannedSequence& planned : plan.sequences) {
    (planned.is_prefill ? n_prompt_tokens : n_decoding) += planned.n_tokens;
  }
  pacer_.took(n_prompt_tokens, n_decoding,
              execute_seconds_ / static_cast<double>(std::max<int64_t>(n_lease_steps_, 1)));
}

// `lease`: what a lease gave; null after a single step.
void EngineImpl::count_reads(const StepPlan& plan, const StepResult* lease) {
  for (size_t i = 0; i < plan.sequences.size(); ++i) {
    const PlannedSequence& planned = plan.sequences[i];
    const auto n = lease != nullptr ? static_cast<int32_t>(lease->sequences[i].tokens.size()) : planned.n_tokens;
    const KeyReads reads = key_reads(model_.groups, planned.first_position, planned.first_position + n);
    reads_.all += reads.all;
    reads_.coded += reads.coded;
  }
}

// False when there was nothing to do.
bool EngineImpl::step() {
  StepLimits limits{.max_batched_tokens = model_.max_batched_tokens,
                    .max_seqs = config_.max_seqs,
                    .lease_tokens = model_.executor->max_lease()};
  if (config_.step_ms > 0) limits.max_prompt_tokens = pacer_.prompt_tokens();
  const StepPlan& plan = scheduler_.plan_step(limits);
  if (plan.empty()) return false;
  model_.executor->swap_out(StepBatch::to_step_copies(plan.swap_outs));
  model_.executor->swap_in(StepBatch::to_step_copies(plan.swap_ins));
  StepResult result;
  std::vector<OutputItem> items;
  if (!plan.sequences.empty()) {
    planned_.clear();
    for (const PlannedSequence& planned : plan.sequences) planned_.push_back(&choices_.at(planned.sequence->id));
    const StepInputs& inputs = batch_.fill(plan, [this](size_t i) { return settings_of(*planned_[i]); });
    batch_.set_counts(counts_.data());
    const bool leased = prepare_lease(plan) && model_.executor->can_lease(inputs);
    const Clock::time_point began = Clock::now();
    const RunOutcome outcome = leased ? run_lease(plan, inputs, result) : model_.executor->run(inputs, results_);
    if (outcome == RunOutcome::device_fault) {
      scheduler_.abort(StepRan::maybe);
      fail_all("the device failed; restart the server");
      return true;
    }
    step_done_ = Clock::now();
    execute_seconds_ = seconds(began, step_done_);
    if (!leased) collect(plan, result, items);
    pace(plan);
    count_reads(plan, leased ? &result : nullptr);
  }
  scheduler_.commit(result);
  report_finished(items);
  update_stats();
  output_.push(std::move(items));
  return true;
}

void EngineImpl::report_finished(std::vector<OutputItem>& items) {
  for (const FinishedSequence& f : scheduler_.take_finished()) {
    const auto it = choices_.find(f.id);
    if (it == choices_.end()) continue;
    const Choice& choice = it->second;
    const Clock::time_point now = Clock::now(), start = choice.started.value_or(now),
                            first = choice.first_token.value_or(now);
    auto end = std::make_unique<OutputEnd>(OutputEnd{.error = choice.error});
    end->usage = {.prompt_tokens = f.n_prompt,
                  .cached_tokens = f.n_cached,
                  .completion_tokens = f.n_output,
                  .queue_seconds = seconds(choice.request->submitted, start),
                  .prefill_seconds = seconds(start, first),
                  .decode_seconds = seconds(first, now)};
    if (choice.pooler && choice.error.empty() && f.end == SequenceEnd::length) {
      end->pooled = choice.pooler->result();
      const bool finite = std::ranges::all_of(end->pooled, [](double v) { return std::isfinite(v); });
      if (!finite) end->error = "the model's output is not a number";
    }
    end->reason = !end->error.empty()               ? FinishReason::error
                  : f.end == SequenceEnd::cancelled ? FinishReason::cancelled
                  : f.end == SequenceEnd::length    ? FinishReason::length
                                                    : FinishReason::stop;
    const bool failed = end->reason == FinishReason::error, cancelled = end->reason == FinishReason::cancelled;
    items.push_back({.request = choice.request, .choice = choice.index, .made = now, .end = std::move(end)});
    if (choice.row.counts_row >= 0) free_counts_rows_.push_back(choice.row.counts_row);
    choices_.erase(it);
    if (--requests_.at(f.request).second > 0) continue;
    requests_.erase(f.request);
    const std::lock_guard lock(mutex_);
    --n_open_;
    ++(failed ? stats_.requests_failed : cancelled ? stats_.requests_cancelled : stats_.requests_finished);
  }
}

void EngineImpl::fail_all(const std::string& reason) {
  {
    const std::lock_guard lock(mutex_);
    fault_ = reason;
  }
  for (auto& [id, choice] : choices_) choice.error = reason;
  for (const auto& [id, state] : requests_) scheduler_.cancel(id);
  std::vector<OutputItem> items;
  report_finished(items);
  output_.push(std::move(items));
}

void EngineImpl::update_stats() {
  const SchedulerStats& s = scheduler_.stats();
  double usage = 0.0;
  for (int g = 0; g < cache_.n_groups(); ++g) {
    const double total = std::max(cache_.group(g).n_blocks - 1, 1);
    usage = std::max(usage, 1.0 - cache_.n_available(g) / total);
  }
  const int64_t n_lease_steps = std::exchange(n_lease_steps_, 0);
  const double execute_seconds = std::exchange(execute_seconds_, 0);
  const std::lock_guard lock(mutex_);
  stats_.steps_total += std::max<int64_t>(n_lease_steps, 1);
  stats_.lease_steps_total += n_lease_steps;
  stats_.execute_seconds += execute_seconds;
  stats_.host_seconds += seconds(turn_began_, Clock::now()) - execute_seconds;
  stats_.prompt_tokens_total = s.n_prompt_tokens;
  stats_.cached_tokens_total = s.n_cached_tokens;
  stats_.generated_tokens_total += std::exchange(n_drawn_, 0);
  stats_.keys_read = reads_.all;
  stats_.coded_keys_read = reads_.coded;
  stats_.preemptions_swap = s.n_preempted_swap;
  stats_.preemptions_recompute = s.n_preempted_recompute;
  stats_.running = scheduler_.n_running();
  stats_.waiting = scheduler_.n_pending();
  stats_.cache_usage = usage;
}

void EngineImpl::loop() {
  for (RowResult& row : results_) row.top.reserve(kMaxTopLogprobs);
  bool idle = true;
  while (take_commands(idle)) {
    idle = !step();
    if (!idle) continue;
    // Requests may have ended without a step (cancelled while waiting).
    std::vector<OutputItem> items;
    report_finished(items);
    update_stats();
    output_.push(std::move(items));
  }
  // Closing: what was never added ends like the rest.
  Commands rest;
  {
    const std::lock_guard lock(mutex_);
    std::swap(rest, commands_);
  }
  for (const auto& request : rest.added) add(request);
  for (const auto& [id, state] : requests_) scheduler_.cancel(id);
  std::vector<OutputItem> items;
  report_finished(items);
  output_.push(std::move(items));
}

}  // namespace arc
