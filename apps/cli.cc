#include "cli.h"

#include <limits>
#include <sstream>
#include <type_traits>

#include "fmt/format.h"

#include "arc/error.h"

namespace arc::app {
namespace {

constexpr const char* kDescription = "Arc: an inference engine and server for language models";
constexpr const char* kFooter = R"(Examples:
  arc run "What is Arc?"
  arc run -m path/to/model
  arc serve -m path/to/model
  arc bench -m path/to/model
  arc eval tasks

Without -m the small model that comes with Arc answers.
"arc COMMAND --help" lists the options of a command. Exit status: 0 done,
1 failed, 2 wrong usage, 130 stopped by Ctrl-C.
)";
constexpr const char* kRunFooter = R"(Examples:
  arc run
  arc run -m path/to/model "Why is the sky blue?"
  arc run -m path/to/model --json "Name a colour" | jq -r .text
  git diff | arc run -m path/to/model --system "Describe this change."
  arc run -m path/to/model --raw --temperature 0 "Once upon a time"
)";
constexpr const char* kServeFooter = R"(Examples:
  arc serve -m path/to/model
  ARC_API_KEY=secret arc serve -m path/to/model --host 0.0.0.0 -p 8080

Then, as any client of OpenAI's API does:
  curl http://127.0.0.1:1234/v1/chat/completions \
    -H 'Content-Type: application/json' \
    -d '{"messages": [{"role": "user", "content": "Hello"}]}'
)";
constexpr const char* kBenchFooter = R"(Examples:
  arc bench -m path/to/model
  arc bench -m path/to/model -p 128,512 -n 64 --batch 1,8 --context 64,2048
  arc bench -m path/to/model -p 0 --json

Between repetitions the same process measures what the machine can do: the
speed of reading memory, which limits decoding, and of multiplying, which limits
prefill. The last column is the share that the model reaches. Work is counted in
F, floating point operations, and in B, bytes.
)";
constexpr const char* kEvalFooter = R"(Examples:
  arc eval tasks
  arc eval needle --lengths 1024,2048 --svg needle.svg
  arc eval perplexity -m path/to/model --set book.txt --window 1024
  arc eval kl -m path/to/model --against pa-cache-type=auto
  arc eval tasks --state tasks.state --json > tasks.json

What there is:
  perplexity  how well the model foresees a text, with standard errors
  kl          how far its distributions are from those of other settings
  needle      whether it finds a fact, by length of context and by depth
  tasks       how many questions with a known answer it gets right

With --state a run that was stopped goes on where it was when the same command
is given again. Sets are .jsonl files: texts with "text", tasks as they stand in
share/arc/eval/tasks.jsonl.
)";
constexpr const char* kInspectFooter = R"(Example:
  arc inspect -m path/to/model

Reads headers only: a folder with nothing but config.json will do.
)";
constexpr const char* kCompletionsFooter = R"(Examples:
  arc completions bash > ~/.local/share/bash-completion/completions/arc
  arc completions zsh > ~/.zfunc/_arc
  arc completions fish > ~/.config/fish/completions/arc.fish
)";

// What is wrong with `text` as a number of type T; empty: nothing.
template <typename T>
std::string misfit(const std::string& text) {
  T value{};
  if (CLI::detail::lexical_cast(text, value)) return "";
  if constexpr (std::is_floating_point_v<T>) return text + " is not a number";
  using Limits = std::numeric_limits<T>;
  return fmt::format("{} is not a whole number from {} to {}", text, Limits::min(), Limits::max());
}

template <typename T>
CLI::Option* option(CLI::App& command, const std::string& names, T& value, const char* type, const char* help) {
  CLI::Option* made = command.add_option(names, value, help)->type_name(type);
  using Element = typename CLI::detail::wrapped_type<T, T>::type;  // what a list, a text or an optional holds
  if constexpr (std::is_arithmetic_v<Element> && !std::is_same_v<Element, char>) made->check(misfit<Element>, "");
  return made;
}

CLI::Option* choice(CLI::App& command, const std::string& names, std::string& value, const char* help,
                    const std::vector<std::string>& values) {
  return command.add_option(names, value, help)->type_name("")->check(CLI::IsMember(values))->capture_default_str();
}

void add_model_options(CLI::App& command, CommandLine& line) {
  EngineConfig& config = line.engine;
  const auto group = [](CLI::Option* o) { return o->group("Model"); };
  group(option(command, "-m,--model-id", config.model, "MODEL",
               "a folder with config.json and *.safetensors, a .gguf file, or the id of a model in the local hub "
               "cache; default: the small model that comes with Arc"));
  group(choice(command, "--kind", line.kind, "what kind of model it is", {"auto", "text"}));
  group(choice(command, "--dtype", config.dtype, "type of the uncompressed cache; auto: the model's own",
               {"auto", "f32", "bf16", "f16"}));
  group(option(command, "--pa-cache-type", config.cache_type, "TYPE",
               "how keys and values are cached: turboquant, turboquant-3, turboquant-aggressive, turboquant-t3, "
               "turboquant-t4, q8, f8e4m3, or auto: as --dtype says, uncompressed")
            ->capture_default_str());
  group(option(command, "--tensor-parallel", config.tensor_parallel, "N", "parts that a model is split into")
            ->capture_default_str());
}

void add_engine_options(CLI::App& command, CommandLine& line) {
  add_model_options(command, line);
  EngineConfig& config = line.engine;
  const auto group = [](CLI::Option* o) { return o->group("Engine"); };
  group(choice(command, "--executor", config.executor, "what runs the model; auto: the fastest that can",
               {"auto", "ref", "cpu", "cuda"}));
  group(option(command, "-t,--threads", config.threads, "N", "threads of the CPU executor; 0: all cores")
            ->check(CLI::Range(0, 4096))
            ->capture_default_str());
  group(option(command, "--max-seqs", config.max_seqs, "N", "sequences that run at once")->capture_default_str());
  group(option(command, "--max-seq-len", config.max_seq_len, "N",
               "tokens of prompt and answer together; 0: as many as the model and the cache allow")
            ->capture_default_str());
  group(option(command, "--max-num-batched-tokens", config.max_batched_tokens, "N", "tokens that one step computes")
            ->capture_default_str());
  group(
      option(command, "--step-ms", config.step_ms, "MS",
             "milliseconds that a step may take in which answers wait for their next token: prompts are read in parts "
             "for it; 0: no limit")
          ->capture_default_str());
  group(option(command, "--kv-memory", config.kv_memory_bytes, "SIZE",
               "memory of the cache, such as 512MB or 4GB; default: a quarter of what is free")
            ->transform(CLI::AsSizeValue(false)));
  group(option(command, "--seed", config.seed, "N", "start of the random choices of tokens")->capture_default_str());
}

void add_chat_options(CLI::App& command, CommandLine& line) {
  command.add_option("-c,--chat-template", line.engine.chat_template, "a .jinja file that replaces the model's own")
      ->type_name("FILE")
      ->group("Model");
  command
      .add_flag("--prefix-cache,!--no-prefix-cache", line.engine.prefix_cache,
                "compute what prompts have in common only once (default: on)")
      ->group("Engine");
}

void add_sampling_options(CLI::App& command, RunOptions& run) {
  const auto group = [](CLI::Option* o) { return o->group("Answer"); };
  SamplingDefaults& wishes = run.wishes;
  SamplingParams& sampling = run.sampling;
  group(
      option(command, "--max-tokens", sampling.max_tokens, "N", "tokens of the answer; -1: as far as the context goes")
          ->capture_default_str());
  group(option(command, "--temperature", wishes.temperature, "X",
               "0: always the most likely token; default: the model's own, or 0.8"));
  group(option(command, "--top-k", wishes.top_k, "N",
               "keep the N most likely tokens, 0: all; default: the model's own, or 40"));
  group(option(command, "--top-p", wishes.top_p, "X",
               "keep the most likely tokens up to this mass; default: the model's own, or 0.95"));
  group(option(command, "--min-p", wishes.min_p, "X",
               "drop tokens less likely than this share of the best; default: the model's own, or 0.05"));
  group(option(command, "--repetition-penalty", wishes.repetition_penalty, "X", "above 1: repeat less"));
  group(
      option(command, "--stop", sampling.stop, "TEXT", "ends the answer; may be given again")->allow_extra_args(false));
  group(command.add_flag("--ignore-eos", sampling.ignore_eos, "go on past the model's end token"));
}

void define_run(CLI::App& app, CommandLine& line) {
  CLI::App& run = *app.add_subcommand("run", "answer one prompt, or chat when there is none");
  run.footer(kRunFooter);
  option(run, "prompt", line.run.prompt, "",
         "the prompt; without one: what is piped in, or a chat when standard input is a terminal");
  option(run, "-i,--input", line.run.prompt, "TEXT", "the prompt, as an option")->excludes("prompt")->group("Answer");
  run.add_option("--system", line.run.system, "system message")->type_name("TEXT")->group("Answer");
  run.add_flag("--raw", line.run.raw, "give the model the text as it is, without its chat template")->group("Answer");
  run.add_flag("--thinking,--enable-thinking,!--no-thinking", line.run.thinking,
               "ask the chat template for an answer with or without reasoning")
      ->group("Answer");
  run.add_flag("--json", line.run.json, "print one JSON object when the answer is whole")->group("Answer");
  add_sampling_options(run, line.run);
  add_engine_options(run, line);
  add_chat_options(run, line);
}

void define_serve(CLI::App& app, CommandLine& line) {
  CLI::App& serve = *app.add_subcommand("serve", "answer HTTP requests in OpenAI's form");
  serve.footer(kServeFooter);
  const auto group = [](CLI::Option* o) { return o->group("Server"); };
  group(option(serve, "--host", line.serve.host, "ADDRESS", "to listen on; 0.0.0.0: on every network")
            ->capture_default_str());
  group(option(serve, "-p,--port", line.serve.port, "N", "to listen on; 0: any that is free")->capture_default_str());
  group(option(serve, "--api-key", line.serve.api_key, "KEY", "what clients must send as bearer token")
            ->envname("ARC_API_KEY"));
  group(option(serve, "--served-model-name", line.engine.served_name, "NAME",
               "the model's name in requests and responses; default: its folder's"));
  group(option(serve, "--allowed-origins", line.serve.allowed_origins, "URL,...",
               "web sites whose pages may use the server, such as https://example.org; *: all")
            ->delimiter(',')
            ->allow_extra_args(false));
  group(serve.add_flag("--ui,!--no-ui", line.serve.ui, "a page to chat on (not there yet)"));
  add_engine_options(serve, line);
  add_chat_options(serve, line);
  option(serve, "--pooling", line.engine.pooling, "MODE",
         "how texts become vectors for /v1/embeddings where the model does not say: last, mean, cls, max, ...")
      ->group("Model");
}

void define_bench(CLI::App& app, CommandLine& line) {
  CLI::App& bench = *app.add_subcommand("bench", "measure prefill and decoding beside what the machine can do");
  bench.footer(kBenchFooter);
  BenchOptions& options = line.bench.bench;
  const auto group = [](CLI::Option* o) { return o->group("Measurement"); };
  const auto list = [&](const char* names, std::vector<int32_t>& values, const char* help) {
    group(option(bench, names, values, "N,...", help)
              ->delimiter(',')
              ->allow_extra_args(false)
              ->check(CLI::Range(0, 1 << 24))
              ->capture_default_str());
  };
  list("-p,--prompt-len", options.prompts, "tokens of the prompts whose prefill is timed; 0: none");
  group(option(bench, "-n,--gen-len", options.decode_tokens, "N", "tokens that each sequence decodes; 0: none")
            ->check(CLI::Range(0, 1 << 24))
            ->capture_default_str());
  list("--context,--depth", options.contexts, "tokens in the cache before decoding");
  list("-b,--batch", options.batches, "sequences side by side");
  group(option(bench, "-r,--repetitions,--iterations", options.repetitions, "N", "times that each is measured")
            ->check(CLI::Range(1, 1000))
            ->capture_default_str());
  group(option(bench, "--warmup", options.warmup, "N", "times before that, not counted")
            ->check(CLI::Range(0, 1000))
            ->capture_default_str());
  group(bench.add_flag("--json", line.bench.json, "print JSON, with every repetition"));
  add_engine_options(bench, line);
}

// The configuration with settings laid over it, "dtype=f32 threads=1": any option of model and engine by its name.
EngineConfig changed(const EngineConfig& config, const std::string& settings) {
  CommandLine line{.engine = config};
  CLI::App app;
  add_engine_options(app, line);
  add_chat_options(app, line);
  std::vector<std::string> words;
  std::istringstream all(settings);
  for (std::string word; all >> word;) words.insert(words.begin(), "--" + word);  // CLI11 takes them from the end
  try {
    app.parse(words);
  } catch (const CLI::ParseError& e) {
    throw Error(ErrorCode::invalid_argument, "--against " + settings + ": " + e.what());
  }
  return line.engine;
}

// What was given of model and engine, in words.
std::string settings_of(const CLI::App& command) {
  std::string text;
  for (const CLI::Option* o : command.get_options()) {
    if (o->count() > 0 && (o->get_group() == "Model" || o->get_group() == "Engine")) {
      text += (text.empty() ? "" : " ") + o->get_name() + "=" + CLI::detail::join(o->results(), ",");
    }
  }
  return text;
}

void define_eval(CLI::App& app, CommandLine& line) {
  CLI::App& eval = *app.add_subcommand("eval", "measure how good a model is, and what a setting costs");
  eval.footer(kEvalFooter);
  EvalOptions& options = line.eval;
  const auto group = [](CLI::Option* o) { return o->group("Evaluation"); };
  const auto count = [](CLI::Option* o) { return o->check(CLI::Range(0, 1 << 24))->capture_default_str(); };
  eval.add_option("what", options.what, "what is measured")
      ->type_name("")
      ->required()
      ->check(CLI::IsMember({"perplexity", "kl", "needle", "tasks"}));
  group(option(eval, "--set", options.set, "FILE",
               "texts (.txt, .jsonl) or tasks (.jsonl); default: the set that comes with Arc"));
  group(option(eval, "--against", line.against, "SETTINGS",
               "kl: what the reference has otherwise, such as \"dtype=f32 executor=ref\": options of this command, "
               "without dashes"));
  group(count(option(eval, "--window", options.text.window, "N",
                     "perplexity, kl: tokens that are read at once; 0: the model's length, at most 2048")));
  group(count(option(eval, "--stride", options.text.stride, "N",
                     "perplexity, kl: tokens from one window's start to the next; 0: half a window")));
  group(count(option(eval, "--documents", options.documents, "N", "perplexity, kl: read the first N texts; 0: all")));
  group(option(eval, "--only", options.only, "TASK,...", "tasks: only these")->delimiter(',')->allow_extra_args(false));
  group(option(eval, "--lengths", options.lengths, "N,...", "needle: only contexts of these nominal lengths")
            ->delimiter(',')
            ->allow_extra_args(false));
  group(option(eval, "--every", options.every, "N", "needle, tasks: ask only each Nth, for a quick look")
            ->check(CLI::Range(1, 1 << 24))
            ->capture_default_str());
  group(count(option(eval, "--from", options.from, "N", "needle, tasks: with --every, so many are left out first")));
  group(option(eval, "--svg", options.svg, "FILE", "needle: write the heat map as a picture"));
  group(option(eval, "--state", options.state, "FILE", "keep what is done, so that a stopped run can go on"));
  group(eval.add_flag("--json", options.json, "print JSON"));
  add_engine_options(eval, line);
  add_chat_options(eval, line);
  eval.final_callback([&eval, &line] {
    line.eval.settings = settings_of(eval) + (line.against.empty() ? "" : " against " + line.against);
    if (!line.against.empty()) line.eval.against = changed(line.engine, line.against);
  });
}

}  // namespace

void define_commands(CLI::App& app, CommandLine& line) {
  app.name("arc");
  app.description(kDescription);
  app.footer(kFooter);
  app.formatter(std::make_shared<HelpFormatter>());
  app.set_help_flag("-h,--help", "this text");
  app.set_version_flag("--version", "arc " ARC_VERSION)->description("print the version");
  define_run(app, line);
  define_serve(app, line);
  define_bench(app, line);
  define_eval(app, line);
  CLI::App& inspect = *app.add_subcommand("inspect", "print the model layer by layer, its plan, and bytes per token");
  inspect.footer(kInspectFooter);
  add_model_options(inspect, line);
  CLI::App& completions = *app.add_subcommand("completions", "print a script that completes commands in a shell");
  completions.footer(kCompletionsFooter);
  completions.add_option("shell", line.shell, "the shell")
      ->type_name("")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
}

}  // namespace arc::app
