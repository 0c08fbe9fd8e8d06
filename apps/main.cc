// The command line of Arc.
#include <cstdio>
#include <exception>
#include <iostream>
#include <iterator>
#include <unistd.h>

#include "CLI/CLI.hpp"
#include "fmt/format.h"

#include "arc/error.h"
#include "commands.h"

namespace {

constexpr const char* kExamples = R"(Examples:
  arc run -m path/to/model "Once upon a time"
  arc serve -m path/to/model -p 8080
  arc inspect -m path/to/model
)";

void add_model_options(CLI::App& command, arc::EngineConfig& config) {
  command
      .add_option("-m,--model-id", config.model,
                  "folder with config.json and *.safetensors, or a hub id in the local cache")
      ->required();
  command.add_option("--dtype", config.dtype, "of the uncompressed cache")
      ->check(CLI::IsMember({"auto", "f32", "bf16", "f16"}))
      ->capture_default_str();
}

void add_engine_options(CLI::App& command, arc::EngineConfig& config) {
  add_model_options(command, config);
  command.add_option("--max-seqs", config.max_seqs, "sequences that run at once")->capture_default_str();
  command.add_option("--max-seq-len", config.max_seq_len, "limit of prompt and answer together; 0: the model's")
      ->capture_default_str();
  command.add_option("--max-num-batched-tokens", config.max_batched_tokens, "tokens of one step")
      ->capture_default_str();
  command
      .add_option("--kv-memory", config.kv_memory_bytes,
                  "bytes for the cache, with suffix (512MB); default: a quarter of what is free")
      ->transform(CLI::AsSizeValue(false));
  command.add_option("--chat-template", config.chat_template, "a .jinja file that replaces the model's own");
  command.add_option("--tensor-parallel", config.tensor_parallel, "ranks in this process")->capture_default_str();
  command.add_option("--seed", config.seed, "of requests that name none")->capture_default_str();
}

void add_sampling_options(CLI::App& command, arc::SamplingParams& sampling) {
  command.add_option("--temperature", sampling.temperature, "0: always the most likely token")->capture_default_str();
  command.add_option("--top-k", sampling.top_k, "keep the k most likely tokens; 0: all")->capture_default_str();
  command.add_option("--top-p", sampling.top_p, "keep the most likely tokens up to this mass")->capture_default_str();
  command.add_option("--min-p", sampling.min_p, "drop tokens less likely than this share of the best")
      ->capture_default_str();
  command.add_option("--repetition-penalty", sampling.repetition_penalty)->capture_default_str();
  command.add_option("--max-tokens", sampling.max_tokens, "tokens of the answer; -1: as far as the context goes")
      ->capture_default_str();
  command.add_option("--stop", sampling.stop, "text that ends the answer; may be repeated");
  command.add_flag("--ignore-eos", sampling.ignore_eos, "go on past the model's end token");
}

// The prompt argument, then what is piped in.
std::string read_prompt(const std::string& argument) {
  if (::isatty(STDIN_FILENO) != 0 || !argument.empty()) return argument;
  return {std::istreambuf_iterator<char>(std::cin), {}};
}

int main_checked(int argc, char** argv) {
  CLI::App app("Arc: an inference engine and server for language models", "arc");
  app.footer(kExamples);
  app.require_subcommand(1);
  arc::EngineConfig config;
  arc::app::RunOptions run_options;
  arc::app::ServeOptions serve_options;

  CLI::App& run = *app.add_subcommand("run", "answer one prompt");
  add_engine_options(run, config);
  add_sampling_options(run, run_options.sampling);
  run.add_option("prompt", run_options.prompt, "the prompt; read from standard input when absent");
  run.add_flag("--json", run_options.json, "print one JSON object at the end instead of streaming");
  run.add_flag("--raw", run_options.raw, "give the model the prompt as it is, without its chat template");

  CLI::App& serve = *app.add_subcommand("serve", "answer HTTP requests in OpenAI's form");
  add_engine_options(serve, config);
  serve.add_option("-p,--port", serve_options.port)->capture_default_str();
  serve.add_option("--host", serve_options.host)->capture_default_str();
  serve.add_option("--api-key", serve_options.api_key, "what clients must send as bearer token");
  serve.add_option("--served-model-name", config.served_name, "the model's name in requests and responses");

  CLI::App& inspect = *app.add_subcommand("inspect", "print the model layer by layer, its plan, and bytes per token");
  add_model_options(inspect, config);

  CLI11_PARSE(app, argc, argv);
  if (inspect) {
    fmt::print("{}", arc::inspect_model(config));
    return 0;
  }
  if (serve) return arc::app::serve(config, serve_options);
  run_options.prompt = read_prompt(run_options.prompt);
  if (run_options.prompt.empty())
    throw arc::Error(arc::ErrorCode::invalid_argument, "no prompt: arc run -m MODEL \"your text\"");
  return arc::app::run(config, run_options);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return main_checked(argc, argv);
  } catch (const std::exception& e) {
    fmt::print(stderr, "arc: {}\n", e.what());
    return 1;
  }
}
