// Tasks with known answers: read, asked, counted.
#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "arc/eval.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "eval/in_flight.h"
#include "eval/journal.h"

namespace arc {
namespace {

constexpr int32_t kSpareTokens = 12, kSpareTokensAround = 96;  // where words may stand around what is looked for

[[noreturn]] void refuse(const std::string& what) {
  throw Error(ErrorCode::corrupt_data, what);
}

EvalTask::Check check_of(const std::string& name, const std::string& where) {
  static const std::map<std::string, EvalTask::Check> kChecks = {{"exact", EvalTask::Check::exact},
                                                                 {"contains", EvalTask::Check::contains},
                                                                 {"json", EvalTask::Check::json},
                                                                 {"call", EvalTask::Check::call}};
  const auto found = kChecks.find(name);
  if (found == kChecks.end()) {
    refuse(fmt::format("{} has the check \"{}\"; there are exact, contains, json and call", where, name));
  }
  return found->second;
}

// A content as a list of texts and [begin, end) of the filler's paragraphs, all a blank line apart, becomes one text.
void expand(Json& messages, const std::vector<std::string>& filler) {
  for (Json& message : messages) {
    Json& content = message.at("content");
    if (!content.is_array()) continue;
    std::string text;
    const auto append = [&](const std::string& paragraph) { text += (text.empty() ? "" : "\n\n") + paragraph; };
    for (const Json& piece : content) {
      if (piece.is_string()) {
        append(piece.get<std::string>());
        continue;
      }
      for (auto i = piece.at(0).get<size_t>(); i < piece.at(1).get<size_t>(); ++i) append(filler.at(i));
    }
    content = std::move(text);
  }
}

EvalTask task_of(Json line, const std::vector<std::string>& filler, const std::string& where) {
  expand(line.at("messages"), filler);
  EvalTask task{.task = line.at("task").get<std::string>(),
                .prompt = {.messages_json = line.at("messages").dump()},
                .check = check_of(line.at("check").get<std::string>(), where),
                .expected = line.at("expected").get<std::string>(),
                .tokens = line.value("tokens", 0),
                .depth = line.value("depth", 0.0)};
  if (line.contains("tools") && !line["tools"].empty()) task.prompt.tools_json = line["tools"].dump();
  if (line.contains("must")) task.must = line["must"].get<std::vector<std::string>>();
  if (task.check == EvalTask::Check::contains && task.must.empty()) {
    refuse(fmt::format("{} does not say what the answer must contain", where));
  }
  return task;
}

std::vector<int32_t> answer_limits(const Engine& engine, const std::vector<EvalTask>& tasks) {
  struct Limit {
    int32_t longest = 0, spare = kSpareTokens;
  };
  std::map<std::string, Limit> by_task;
  for (const EvalTask& task : tasks) {
    Limit& limit = by_task[task.task];
    const auto tokens = engine.tokenize(TextPrompt{.text = task.expected, .add_special_tokens = false});
    limit.longest = std::max(limit.longest, static_cast<int32_t>(tokens.size()));
    if (task.check == EvalTask::Check::contains) limit.spare = kSpareTokensAround;
  }
  std::vector<int32_t> limits;
  for (const EvalTask& task : tasks) limits.push_back(by_task[task.task].longest + by_task[task.task].spare);
  return limits;
}

Json key_of(const std::vector<EvalTask>& tasks) {
  std::string all;
  for (const EvalTask& t : tasks) all += t.task + t.prompt.messages_json + t.prompt.tools_json + t.expected + '\n';
  return {{"tasks", fingerprint(all)}};
}

}  // namespace

std::vector<EvalTask> read_tasks(const std::string& path) {
  const std::string text = read_text_file(path);
  std::vector<EvalTask> tasks;
  std::vector<std::string> filler;
  for (size_t at = 0, number = 1; at < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string where = fmt::format("line {} of {}", number, path);
    const std::string_view one = std::string_view(text).substr(at, end - at);
    at = end + 1;
    if (one.empty()) continue;
    try {
      Json line = parse_json(one, where);
      if (line.contains("filler")) {
        filler = line["filler"].get<std::vector<std::string>>();
      } else {
        tasks.push_back(task_of(std::move(line), filler, where));
      }
    } catch (const Json::exception& e) {
      refuse(fmt::format("{} is not a task: {}", where, e.what()));
    } catch (const std::out_of_range&) {
      refuse(fmt::format("{} names paragraphs that the filler does not have", where));
    }
  }
  return tasks;
}

std::vector<TaskAnswer> answer_tasks(Engine& engine, const std::vector<EvalTask>& tasks, const EvalRun& run) {
  if (!engine.info().has_chat_template) {
    throw Error(ErrorCode::unsupported,
                "the tasks are conversations, and this model has no chat template: give one with "
                "--chat-template FILE");
  }
  Journal journal(run, key_of(tasks), tasks.size(), "answers");
  const std::vector<size_t> parts = journal.missing();
  const std::vector<int32_t> limits = answer_limits(engine, tasks);
  const auto make = [&](size_t i) {
    return Request{.prompt = tasks[parts[i]].prompt, .sampling = {.temperature = 0, .max_tokens = limits[parts[i]]}};
  };
  run_requests(engine, parts.size(), make, [&](size_t i, const Answer& answer) { journal.add(parts[i], answer.text); });
  std::vector<TaskAnswer> answers;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const auto text = journal.result(i).get<std::string>();
    answers.push_back({.text = text, .right = is_right(tasks[i], text)});
  }
  return answers;
}

double Accuracy::error() const {
  return n > 0 ? std::sqrt(share() * (1 - share()) / static_cast<double>(n)) : 0.0;
}

}  // namespace arc
