#include "chat.h"

#include <cstdlib>
#include <filesystem>
#include <span>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "answer.h"
#include "arc/error.h"
#include "line_editor.h"
#include "terminal.h"

namespace arc::app {
namespace {

constexpr const char* kPrompt = "> ";
constexpr const char* kMorePrompt = ". ";
constexpr const char* kQuotes = "\"\"\"";

// $XDG_STATE_HOME/arc/history, else ~/.local/state/arc/history.
std::filesystem::path history_file() {
  if (const char* state = std::getenv("XDG_STATE_HOME"); state != nullptr && *state != '\0') {
    return std::filesystem::path(state) / "arc" / "history";
  }
  const char* home = std::getenv("HOME");
  if (home == nullptr || *home == '\0') return {};
  return std::filesystem::path(home) / ".local" / "state" / "arc" / "history";
}

class Chat {
 public:
  Chat(Engine& engine, RunOptions options)
      : engine_(engine),
        options_(std::move(options)),
        sampling_(sampling_of(options_, engine.info())),
        editor_(history_file()) {
    set_system(options_.system);
  }

  void loop() {
    const CatchInterrupt guard;
    fmt::print("{}. Ctrl-C stops an answer, /help lists commands, Ctrl-D leaves.\n",
               options_.raw ? "Type a text to continue" : "Talk to the model");
    std::string text;
    while (!left_ && read_message(text)) {
      if (text.find_first_not_of(" \t\n") == std::string::npos) continue;
      editor_.remember(text);
      try {
        if (!obey(text)) reply(text);
      } catch (const Error& e) {
        fmt::print("{}", error_text(e.what()));
      }
    }
  }

 private:
  struct Command {
    const char* name;
    const char* argument;
    const char* help;
    void (Chat::*run)(const std::string& argument);
  };
  static std::span<const Command> commands() {
    static constexpr Command kCommands[] = {
        {"help", "", "this list", &Chat::help},
        {"system", "[TEXT]", "set the system message; without TEXT: none", &Chat::set_system},
        {"clear", "", "forget the conversation and the system message", &Chat::clear},
        {"temperature", "X", "0: always the most likely token", &Chat::set_temperature},
        {"topk", "N", "keep the N most likely tokens, 0: all", &Chat::set_top_k},
        {"topp", "X", "keep the most likely tokens up to this mass", &Chat::set_top_p},
        {"exit", "", "leave; so do Ctrl-D and Ctrl-C twice", &Chat::leave},
    };
    return kCommands;
  }

  // False when the user leaves. A line that ends in \ goes on with the next; """ begins and ends a text of many lines.
  bool read_message(std::string& text) {
    text.clear();
    bool quoted = false;
    for (bool more = false; more || text.empty();) {
      std::string line;
      CatchInterrupt::forget();
      switch (editor_.read(more ? kMorePrompt : kPrompt, line)) {
        case LineEditor::Outcome::end:
          return false;
        case LineEditor::Outcome::interrupt:
          if (warned_) return false;
          fmt::print("Ctrl-C again or Ctrl-D leaves\n");
          warned_ = true;
          text.clear();
          more = quoted = false;
          continue;
        case LineEditor::Outcome::line:
          break;
      }
      warned_ = false;
      if (!more && line.starts_with(kQuotes)) {
        quoted = true;
        line.erase(0, 3);
      }
      more = quoted ? !line.ends_with(kQuotes) : line.ends_with('\\');
      if (quoted && !more) line.resize(line.size() - 3);
      if (!quoted && more) line.pop_back();
      text += line;
      if (more) text += '\n';
      if (!more) return true;
    }
    return true;
  }

  // Carries out /name or \name; false when the text is a message.
  bool obey(const std::string& text) {
    if (!text.starts_with('/') && !text.starts_with('\\')) return false;
    const size_t space = std::min(text.find(' '), text.size());
    const std::string name = text.substr(1, space - 1);
    const size_t begin = text.find_first_not_of(' ', space);
    for (const Command& command : commands()) {
      if (name != command.name) continue;
      (this->*command.run)(begin == std::string::npos ? "" : text.substr(begin));
      return true;
    }
    fmt::print("there is no command {}; /help lists them\n", text.substr(0, space));
    return true;
  }

  void reply(const std::string& text) {
    std::vector<Message> messages = messages_;
    messages.push_back({"user", text});
    const Answer answer = ask(
        engine_,
        {.prompt = options_.raw ? Prompt{TextPrompt{text}} : chat_prompt(messages, options_), .sampling = sampling_},
        true);
    fmt::print("{}\n[{}{}]\n", answer.text.ends_with('\n') ? "" : "\n", answer.interrupted ? "stopped; " : "",
               speed_line(answer.last.usage));
    if (options_.raw) return;
    messages.push_back({"assistant", answer.text});
    messages_ = std::move(messages);
  }

  void help(const std::string&) {
    for (const Command& command : commands()) {
      fmt::print("  {:<18}{}\n", fmt::format("/{} {}", command.name, command.argument), command.help);
    }
    fmt::print(
        "A line that ends in \\ goes on with the next. {0} begins and ends a text of many\n"
        "lines. A pasted text is one message. Up and Down go through earlier messages.\n",
        kQuotes);
  }

  void set_system(const std::string& text) {
    std::erase_if(messages_, [](const Message& m) { return std::string_view(m.role) == "system"; });
    if (!text.empty()) messages_.insert(messages_.begin(), {"system", text});
  }

  void clear(const std::string&) { messages_.clear(); }
  void leave(const std::string&) { left_ = true; }
  void set_temperature(const std::string& text) { set(sampling_.temperature, text, 100.0); }
  void set_top_k(const std::string& text) { set(sampling_.top_k, text, 1e9); }
  void set_top_p(const std::string& text) { set(sampling_.top_p, text, 1.0); }

  template <typename T>
  static void set(T& value, const std::string& text, double limit) {
    char* end = nullptr;
    const double number = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0' || !(number >= 0 && number <= limit)) {
      fmt::print("give a number from 0 to {:.0f}, such as \"/topp 0.9\"\n", limit);
    } else {
      value = static_cast<T>(number);
    }
  }

  Engine& engine_;
  RunOptions options_;
  SamplingParams sampling_;
  LineEditor editor_;
  std::vector<Message> messages_;
  bool warned_ = false;  // the last key was Ctrl-C
  bool left_ = false;
};

}  // namespace

SamplingParams sampling_of(const RunOptions& options, const ModelInfo& info) {
  SamplingParams sampling = options.sampling;
  const SamplingDefaults &wish = options.wishes, &model = info.sampling;
  sampling.temperature = wish.temperature.value_or(model.temperature.value_or(0.8f));
  sampling.top_k = wish.top_k.value_or(model.top_k.value_or(40));
  sampling.top_p = wish.top_p.value_or(model.top_p.value_or(0.95f));
  sampling.min_p = wish.min_p.value_or(model.min_p.value_or(0.05f));
  sampling.repetition_penalty = wish.repetition_penalty.value_or(model.repetition_penalty.value_or(1.0f));
  return sampling;
}

Prompt chat_prompt(const std::vector<Message>& messages, const RunOptions& options) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Message& message : messages) list.push_back({{"role", message.role}, {"content", message.content}});
  ChatPrompt prompt;
  try {
    prompt.messages_json = list.dump();
  } catch (const nlohmann::json::exception&) {
    throw Error(ErrorCode::invalid_argument, "the text is not valid UTF-8; convert it, for instance with iconv");
  }
  if (options.thinking) {
    prompt.template_arguments_json = nlohmann::ordered_json{{"enable_thinking", *options.thinking}}.dump();
  }
  return prompt;
}

void chat(Engine& engine, RunOptions options) {
  Chat(engine, std::move(options)).loop();
}

}  // namespace arc::app
