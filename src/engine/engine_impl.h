// The engine: a queue in front, one thread that owns scheduler and executor, one thread that makes text and events.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "engine/active_request.h"
#include "engine/key_reads.h"
#include "engine/model_loader.h"
#include "engine/output_thread.h"
#include "engine/step_batch.h"
#include "kv/kv_cache.h"
#include "sched/scheduler.h"
#include "sched/step_pacer.h"

namespace arc {

class EngineImpl : public Engine {
 public:
  EngineImpl(LoadedModel model, const EngineConfig& config);
  ~EngineImpl() override;  // ends every request as cancelled

  RequestId submit(Request request, EventSink sink) override;
  void cancel(RequestId id) override;
  ModelInfo info() const override { return model_.info; }
  EngineStats stats() const override;
  bool healthy(std::string* reason) const override;
  std::vector<int32_t> tokenize(const Prompt& prompt) const override;
  std::string detokenize(const std::vector<int32_t>& tokens) const override;
  std::string token_text(int32_t token) const override;

 private:
  // What other threads ask of the engine thread.
  struct Commands {
    std::vector<std::shared_ptr<const ActiveRequest>> added;
    std::vector<RequestId> cancelled;
    std::vector<std::pair<RequestId, int32_t>> stopped;  // choice that ended at a stop string
    bool empty() const { return added.empty() && cancelled.empty() && stopped.empty(); }
  };
  // One answer, as the engine thread sees it.
  struct Choice {
    std::shared_ptr<const ActiveRequest> request;
    int32_t index = 0;
    SamplingRow row;  // but for its places in a step
    int32_t n_generated = 0;
    std::string error;
    std::optional<Clock::time_point> started, first_token;
    std::optional<Pooler> pooler;  // of an embedding
  };
  struct Lease {
    LoopControl control;
    std::vector<int32_t> stop_ids, tokens_left;
    std::vector<std::vector<int32_t>> tokens;  // per planned sequence
  };

  std::shared_ptr<ActiveRequest> make_request(Request request, EventSink sink) const;
  void read_generation(Request& request, ActiveRequest& active) const;
  void read_embedding(const Request& request, ActiveRequest& active) const;
  void post(const std::function<void(Commands&)>& change);

  // ---- engine thread
  void loop();
  bool take_commands(bool wait);
  void add(const std::shared_ptr<const ActiveRequest>& request);
  bool step();
  RowSettings settings_of(Choice& choice);
  bool prepare_lease(const StepPlan& plan);
  RunOutcome run_lease(const StepPlan& plan, const StepInputs& inputs, StepResult& result);
  int32_t take_token(Choice& choice, const RowResult& row, OutputItem& item, bool& stopped);
  void pace(const StepPlan& plan);
  void count_reads(const StepPlan& plan, const StepResult* lease);
  void collect(const StepPlan& plan, StepResult& result, std::vector<OutputItem>& items);
  void collect_one(const PlannedSequence& planned, size_t index, SequenceResult& result,
                   std::vector<OutputItem>& items);
  void report_finished(std::vector<OutputItem>& items);
  void fail_all(const std::string& reason);
  void update_stats();
  int32_t take_counts_row(const ActiveRequest& request);

  LoadedModel model_;
  EngineConfig config_;
  std::atomic<RequestId> next_id_{1};
  std::atomic<uint64_t> next_seed_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  Commands commands_;
  EngineStats stats_;
  std::string fault_;
  int32_t n_open_ = 0;  // requests submitted and not finished
  bool closing_ = false;
  std::atomic<int32_t> attention_ = 0;  // not zero: a lease should end, commands wait

  // Owned by the engine thread.
  KvCache cache_;
  Scheduler scheduler_;
  StepPacer pacer_;
  StepBatch batch_;
  std::unordered_map<SeqId, Choice> choices_;
  std::unordered_map<RequestId, std::pair<SeqId, int32_t>> requests_;  // first sequence, open choices
  std::vector<Choice*> planned_;                                       // of the step's sequences, in the plan's order
  std::vector<RowResult> results_;
  std::vector<float> hidden_;                // [rows, dim] of a step, where the model makes vectors
  Clock::time_point step_done_{};            // when the executor last came back
  std::vector<int32_t> drawn_;               // one token per planned sequence
  Clock::time_point turn_began_{};           // when commands were last taken
  double execute_seconds_ = 0;               // of this turn
  int64_t n_drawn_ = 0, n_lease_steps_ = 0;  // tokens and steps since the statistics were brought up to date
  KeyReads reads_;                           // since the engine began
  Lease lease_;
  std::vector<uint32_t> counts_;  // [rows, V]
  std::vector<int32_t> free_counts_rows_;

  OutputThread output_;
  std::thread thread_;
};

}  // namespace arc
