// Tests of request bodies: every field arrives where it belongs, and every hostile body is refused by name.
#include "serve/openai_request.h"

#include <string>
#include <variant>
#include <vector>

#include "fmt/format.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "base/json.h"
#include "serve/api_error.h"

namespace arc::serve {
namespace {

const RequestLimits kLimits{.vocab_size = 1000};

ApiRequest completion(const std::string& members) {
  return parse_request(Api::completions, "{" + members + "}", kLimits);
}
ApiRequest chat(const std::string& members) {
  return parse_request(Api::chat, R"({"messages":[{"role":"user","content":"x"}],)" + members + "}", kLimits);
}
ApiRequest embeddings(const std::string& members) {
  return parse_request(Api::embeddings, "{" + members + "}", kLimits);
}
const ChatPrompt& chat_prompt(const ApiRequest& request) {
  return std::get<ChatPrompt>(request.requests.at(0).prompt);
}

TEST(Request, ReadsEverySamplingField) {
  const ApiRequest request =
      chat(R"("model":"m","stream":true,"stream_options":{"include_usage":true},"temperature":0.5,
      "top_p":0.25,"min_p":0.125,"top_k":40,"repetition_penalty":1.5,"frequency_penalty":-0.5,"presence_penalty":0.75,
      "logit_bias":{"17":-100,"999":3.5},"seed":-1,"n":3,"max_tokens":20,"max_completion_tokens":30,"min_tokens":4,
      "ignore_eos":true,"stop":["a","b"],"stop_token_ids":[5,6],"logprobs":true,"top_logprobs":7,
      "return_tokens_as_token_ids":true,"cache_salt":"s","user":"u","store":false,"metadata":{"a":[1]})");
  EXPECT_EQ(request.model, "m");
  EXPECT_TRUE(request.stream && request.include_usage && request.tokens_as_ids);
  EXPECT_EQ(request.requests.at(0).cache_salt, "s");
  const SamplingParams& s = request.requests.at(0).sampling;
  EXPECT_EQ(s.temperature, 0.5f);
  EXPECT_EQ(s.top_p, 0.25f);
  EXPECT_EQ(s.min_p, 0.125f);
  EXPECT_EQ(s.top_k, 40);
  EXPECT_EQ(s.repetition_penalty, 1.5f);
  EXPECT_EQ(s.frequency_penalty, -0.5f);
  EXPECT_EQ(s.presence_penalty, 0.75f);
  EXPECT_EQ(s.logit_bias, (std::vector<std::pair<int32_t, float>>{{17, -100.0f}, {999, 3.5f}}));
  EXPECT_EQ(s.seed, ~0ull);
  EXPECT_EQ(s.n, 3);
  EXPECT_EQ(s.max_tokens, 30);
  EXPECT_EQ(s.min_tokens, 4);
  EXPECT_TRUE(s.ignore_eos && s.logprobs && !s.prompt_logprobs);
  EXPECT_EQ(s.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(s.stop_token_ids, (std::vector<int32_t>{5, 6}));
  EXPECT_EQ(s.top_logprobs, 7);
}

TEST(Request, ReadsEveryFieldOfEmbeddings) {
  const ApiRequest request = embeddings(R"("input":["a","b"],"model":"m","encoding_format":"base64","dimensions":12,
      "prompt_name":"query","truncate_sequence":true,"add_special_tokens":false,"user":"u")");
  EXPECT_EQ(request.model, "m");
  EXPECT_TRUE(request.base64);
  ASSERT_EQ(request.requests.size(), 2u);
  for (const Request& one : request.requests) {
    ASSERT_TRUE(one.embedding);
    EXPECT_EQ(one.embedding->dimensions, 12);
    EXPECT_EQ(one.embedding->prompt_name, "query");
    EXPECT_TRUE(one.embedding->truncate);
    EXPECT_FALSE(std::get<TextPrompt>(one.prompt).add_special_tokens);
  }
  EXPECT_EQ(std::get<TextPrompt>(request.requests[1].prompt).text, "b");

  const ApiRequest least = embeddings(R"("input":[[1,2],[3]])");
  EXPECT_FALSE(least.base64);
  EXPECT_EQ(least.requests.at(0).embedding->dimensions, 0);
  EXPECT_FALSE(least.requests.at(0).embedding->prompt_name);
  EXPECT_EQ(std::get<TokenPrompt>(least.requests.at(0).prompt).tokens, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(embeddings(R"("input":[1,2,3])").requests.size(), 1u);
}

TEST(Request, RefusesImpossibleEmbeddings) {
  std::string many = "\"x\"";
  for (int i = 0; i < 2048; ++i) many += ",\"x\"";
  const std::pair<std::string, const char*> bodies[] = {
      {R"("model":"m")", "input"},
      {R"("input":[])", "input"},
      {R"("input":7)", "input"},
      {R"("input":["a",1])", "input[1]"},
      {R"("input":[[1],[]])", "input[1]"},
      {R"("input":[1000])", "input[0]"},
      {R"("input":"a","dimensions":0)", "dimensions"},
      {R"("input":"a","encoding_format":"int8")", "encoding_format"},
      {R"("input":"a","temperature":1)", "temperature"},
      {R"("input":[)" + many + "]", "input"},
  };
  for (const auto& [body, param] : bodies) {
    try {
      embeddings(body);
      ADD_FAILURE() << body.substr(0, 100);
    } catch (const RequestError& e) {
      EXPECT_EQ(e.param(), param) << e.what();
    }
  }
}

TEST(Request, NullMeansAbsentAndDefaultsAreOpenAis) {
  const ApiRequest request = completion(R"("prompt":"x","temperature":null,"stop":null,"logprobs":null,"n":null,
      "stream_options":null,"logit_bias":null,"best_of":1,"suffix":null,"echo":null,"top_k":-1)");
  const SamplingParams& s = request.requests.at(0).sampling;
  EXPECT_EQ(s.max_tokens, 16);
  EXPECT_EQ(s.temperature, 1.0f);
  EXPECT_EQ(s.n, 1);
  EXPECT_EQ(s.top_k, 0);
  EXPECT_FALSE(s.logprobs || s.seed || request.stream || request.echo);
  EXPECT_EQ(chat(R"("user":"")").requests.at(0).sampling.max_tokens, -1);
  EXPECT_EQ(completion(R"("prompt":"x","stop":"end")").requests.at(0).sampling.stop, std::vector<std::string>{"end"});
  EXPECT_TRUE(completion(R"("prompt":"x","echo":true,"logprobs":0)").requests.at(0).sampling.prompt_logprobs);
}

TEST(Request, TheModelsDefaultsAreForWhatIsLeftOpen) {
  const SamplingDefaults model{.temperature = 0.6f, .min_p = 0.05f, .top_k = 20};
  const auto sampling = [&](const char* body) {
    return parse_request(Api::completions, body, kLimits, model).requests.at(0).sampling;
  };
  const SamplingParams open = sampling(R"({"prompt":"x"})");
  EXPECT_EQ(open.temperature, 0.6f);
  EXPECT_EQ(open.top_k, 20);
  EXPECT_EQ(open.min_p, 0.05f);
  EXPECT_EQ(open.top_p, 1.0f);
  EXPECT_EQ(open.repetition_penalty, 1.0f);
  const SamplingParams given = sampling(R"({"prompt":"x","temperature":1,"top_k":-1,"min_p":0})");
  EXPECT_EQ(given.temperature, 1.0f);
  EXPECT_EQ(given.top_k, 0);
  EXPECT_EQ(given.min_p, 0.0f);
}

TEST(Request, ReadsTokenizeAndDetokenize) {
  const auto parse = [](Api api, const char* body) { return parse_request(api, body, kLimits); };
  const auto text = std::get<TextPrompt>(parse(Api::tokenize, R"({"prompt":"x"})").requests.at(0).prompt);
  EXPECT_TRUE(text.text == "x" && text.add_special_tokens);
  const ApiRequest plain =
      parse(Api::tokenize, R"({"model":"m","prompt":"","add_special_tokens":false,"return_token_strs":true})");
  EXPECT_FALSE(std::get<TextPrompt>(plain.requests.at(0).prompt).add_special_tokens);
  EXPECT_TRUE(plain.token_strings && plain.model == "m");
  const ApiRequest talk = parse(Api::tokenize, R"({"messages":[{"role":"user","content":"x"}],"tools":
      [{"type":"function","function":{"name":"f"}}],"add_generation_prompt":false,"add_special_tokens":false,
      "chat_template_kwargs":{"a":1},"continue_final_message":false})");
  EXPECT_FALSE(chat_prompt(talk).add_generation_prompt);
  EXPECT_FALSE(chat_prompt(talk).tools_json.empty());
  EXPECT_EQ(chat_prompt(talk).template_arguments_json, R"({"a":1})");
  const ApiRequest ids = parse(Api::detokenize, R"({"tokens":[5,999]})");
  EXPECT_EQ(std::get<TokenPrompt>(ids.requests.at(0).prompt).tokens, (std::vector<int32_t>{5, 999}));

  for (const char* body : {"{}", R"({"prompt":5})", R"({"prompt":["x"]})", R"({"prompt":"x","messages":[]})",
                           R"({"prompt":"x","messages":[{"role":"user","content":"x"}]})", R"({"prompt":"x","n":1})",
                           R"({"messages":[{"role":"user","content":"x"}],"add_special_tokens":true})",
                           R"({"prompt":"x","return_token_strs":1})", R"({"prompt":"x","stream":true})"}) {
    EXPECT_THROW(parse(Api::tokenize, body), Error) << body;
  }
  for (const char* body : {"{}", R"({"tokens":[1000]})", R"({"tokens":[-1]})", R"({"tokens":["1"]})",
                           R"({"tokens":[1.0]})", R"({"tokens":{}})", R"({"tokens":5})", R"({"prompt":"x"})"}) {
    EXPECT_THROW(parse(Api::detokenize, body), Error) << body;
  }
}

TEST(Request, ReadsThePromptInAllFourForms) {
  const ApiRequest text = completion(R"("prompt":"one","add_special_tokens":false)");
  EXPECT_EQ(std::get<TextPrompt>(text.requests.at(0).prompt).text, "one");
  EXPECT_FALSE(std::get<TextPrompt>(text.requests.at(0).prompt).add_special_tokens);
  EXPECT_EQ(completion(R"("prompt":["a","b","c"])").requests.size(), 3u);
  const ApiRequest tokens = completion(R"("prompt":[1,2,3])");
  ASSERT_EQ(tokens.requests.size(), 1u);
  EXPECT_EQ(std::get<TokenPrompt>(tokens.requests[0].prompt).tokens, (std::vector<int32_t>{1, 2, 3}));
  const ApiRequest lists = completion(R"("prompt":[[1],[999,0]],"seed":5)");
  ASSERT_EQ(lists.requests.size(), 2u);
  EXPECT_EQ(std::get<TokenPrompt>(lists.requests[1].prompt).tokens, (std::vector<int32_t>{999, 0}));
  EXPECT_EQ(lists.requests[1].sampling.seed, 5u);
}

TEST(Request, PreparesMessagesAndToolsForTheTemplate) {
  const ApiRequest request = parse_request(Api::chat, R"({"messages":[
      {"role":"system","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}],"z":1,"y":2},
      {"role":"assistant","content":null,"tool_calls":[
        {"id":"1","type":"function","function":{"name":"f","arguments":"{\"b\":1,\"a\":[]}"}},
        {"id":"2","type":"function","function":{"name":"g","arguments":"not json"}},
        {"id":"3","type":"function","function":{"name":"h"}}]},
      {"role":"tool","tool_call_id":"1","content":"42"}],
      "tools":[{"type":"function","function":{"name":"f","parameters":{"z":1,"a":2}}}],
      "chat_template_kwargs":{"enable_thinking":false},"reasoning_effort":"low","add_generation_prompt":false})",
                                           kLimits);
  const ChatPrompt& prompt = chat_prompt(request);
  EXPECT_EQ(prompt.messages_json,
            R"([{"role":"system","content":"a\nb","z":1,"y":2},{"role":"assistant","content":null,"tool_calls":[)"
            R"({"id":"1","type":"function","function":{"name":"f","arguments":{"b":1,"a":[]}}},)"
            R"({"id":"2","type":"function","function":{"name":"g","arguments":"not json"}},)"
            R"({"id":"3","type":"function","function":{"name":"h","arguments":{}}}]},)"
            R"({"role":"tool","tool_call_id":"1","content":"42"}])");
  EXPECT_EQ(prompt.tools_json, R"([{"type":"function","function":{"name":"f","parameters":{"z":1,"a":2}}}])");
  EXPECT_EQ(prompt.template_arguments_json, R"({"enable_thinking":false,"reasoning_effort":"low"})");
  EXPECT_FALSE(prompt.add_generation_prompt);
  EXPECT_EQ(chat_prompt(chat(R"("tools":[],"tool_choice":"none")")).tools_json, "");
}

struct BadRequest {
  Api api;
  std::string body;
  std::string param;  // that the error names; empty: the body as a whole
};

std::string repeated(const std::string& part, size_t n) {
  std::string text;
  for (size_t i = 0; i < n; ++i) text += part;
  return text;
}

std::string with_prompt(const std::string& members) {
  return R"({"prompt":"x",)" + members + "}";
}
std::string with_messages(const std::string& members) {
  return R"({"messages":[{"role":"user","content":"x"}],)" + members + "}";
}
std::string with_message(const std::string& message) {
  return R"({"messages":[)" + message + "]}";
}

std::vector<BadRequest> bad_bodies() {
  std::vector<BadRequest> bad;
  for (const std::string& body : std::vector<std::string>{
           "", " ", "null", "[]", "\"x\"", "{", R"({"prompt":"x")", R"({"prompt":"x"}})", R"({"prompt":'x'})",
           R"({"prompt":"x","seed":1e999})", R"({"prompt":"x","seed":NaN})", "{\"prompt\":\"\xFF\"}",
           "{\"prompt\":\"\xC0\x80\"}", R"({"prompt":"\ud800"})", "{\"prompt\":\"a\nb\"}",
           R"({"prompt":)" + std::string(100'000, '['), R"({"prompt":)" + repeated(R"({"a":)", 100'000),
           R"({"prompt":)" + std::string(65, '[') + "1" + std::string(65, ']') + "}"}) {
    bad.push_back({Api::completions, body, ""});
    bad.push_back({Api::chat, body, ""});
  }
  std::string keys;
  for (int i = 0; i < 20'000; ++i) keys += fmt::format(R"("{}":0,)", i);
  bad.push_back({Api::chat, R"({"metadata":{)" + keys + R"("x":0}})", ""});
  return bad;
}

std::vector<BadRequest> bad_completions() {
  std::vector<BadRequest> bad;
  const auto add = [&bad](const std::string& body, const std::string& param) {
    bad.push_back({Api::completions, body, param});
  };
  add("{}", "prompt");
  add(R"({"prompt":null})", "prompt");
  add(R"({"prompt":7})", "prompt");
  add(R"({"prompt":{}})", "prompt");
  add(R"({"prompt":[]})", "prompt");
  add(R"({"prompt":[[]]})", "prompt[0]");
  add(R"({"prompt":[true]})", "prompt[0]");
  add(R"({"prompt":["a",1]})", "prompt[1]");
  add(R"({"prompt":[1,"a"]})", "prompt[1]");
  add(R"({"prompt":[[1],"a"]})", "prompt[1]");
  add(R"({"prompt":[-1]})", "prompt[0]");
  add(R"({"prompt":[1000]})", "prompt[0]");
  add(R"({"prompt":[1.5]})", "prompt[0]");
  add(R"({"prompt":[18446744073709551615]})", "prompt[0]");
  add(R"({"prompt":[[5],[99999999999]]})", "prompt[1][0]");
  add(R"({"prompt":[)" + repeated("\"a\",", 256) + R"("a"]})", "prompt");
  add(R"({"prompt":["a","b","c","d","e"],"n":128})", "n");
  add(with_prompt(R"("echo":"yes")"), "echo");
  add(with_prompt(R"("logprobs":true)"), "logprobs");
  add(with_prompt(R"("logprobs":21)"), "logprobs");
  add(with_prompt(R"("logprobs":-1)"), "logprobs");
  add(with_prompt(R"("top_logprobs":2)"), "top_logprobs");
  add(with_prompt(R"("best_of":3)"), "best_of");
  add(with_prompt(R"("suffix":"end")"), "suffix");
  add(with_prompt(R"("max_tokens":0)"), "max_tokens");
  add(with_prompt(R"("messages":[])"), "messages");
  add(with_prompt(R"("min_tokens":17)"), "min_tokens");
  return bad;
}

std::vector<BadRequest> bad_sampling() {
  std::vector<BadRequest> bad;
  const auto add = [&bad](const std::string& members, const std::string& param) {
    bad.push_back({Api::chat, with_messages(members), param});
    bad.push_back({Api::completions, with_prompt(members), param});
  };
  for (const char* value : {"-0.1", "2.1", "\"1\"", "true", "[]", "{}", "1e308"}) {
    add(fmt::format(R"("temperature":{})", value), "temperature");
    add(fmt::format(R"("top_p":{})", value), "top_p");
    add(fmt::format(R"("min_p":{})", value), "min_p");
  }
  for (const char* value : {"-2.5", "2.5", "\"1\"", "1e308"}) {
    add(fmt::format(R"("frequency_penalty":{})", value), "frequency_penalty");
    add(fmt::format(R"("presence_penalty":{})", value), "presence_penalty");
  }
  for (const char* value : {"0", "-1", "1e-5", "1e9", "\"1\""}) {
    add(fmt::format(R"("repetition_penalty":{})", value), "repetition_penalty");
  }
  for (const char* value : {"0", "-1", "129", "1000000000000", "1.5", "\"2\"", "true", "18446744073709551615"}) {
    add(fmt::format(R"("n":{})", value), "n");
  }
  for (const char* value : {"-1", "2147483648", "1.0", "\"5\"", "[]"}) {
    add(fmt::format(R"("max_tokens":{})", value), "max_tokens");
    add(fmt::format(R"("min_tokens":{})", value), "min_tokens");
  }
  add(R"("top_k":-2)", "top_k");
  add(R"("top_k":0.5)", "top_k");
  add(R"("seed":1.5)", "seed");
  add(R"("seed":18446744073709551615)", "seed");
  add(R"("seed":"1")", "seed");
  add(R"("max_tokens":5,"min_tokens":6)", "min_tokens");
  add(R"("ignore_eos":1)", "ignore_eos");
  add(R"("stream":"true")", "stream");
  add(R"("stream_options":{"include_usage":true})", "stream_options");
  add(R"("stream":true,"stream_options":[])", "stream_options");
  add(R"("stream":true,"stream_options":{"include_usage":1})", "stream_options.include_usage");
  add(R"("stream":true,"stream_options":{"unknown":true})", "stream_options");
  add(R"("stop":5)", "stop");
  add(R"("stop":"")", "stop");
  add(R"("stop":["a",""])", "stop[1]");
  add(R"("stop":["a",null])", "stop[1]");
  add(R"("stop":[["a"]])", "stop[0]");
  add(R"("stop":[)" + repeated("\"a\",", 16) + R"("a"])", "stop");
  add(R"("stop":")" + std::string(1025, 'x') + "\"", "stop");
  add(R"("stop_token_ids":[1000])", "stop_token_ids[0]");
  add(R"("stop_token_ids":7)", "stop_token_ids");
  add(R"("stop_token_ids":[)" + repeated("1,", 256) + "1]", "stop_token_ids");
  add(R"("logit_bias":[1])", "logit_bias");
  for (const char* key : {"x", "", "-1", "1000", "1.5", " 1", "1 ", "99999999999999999999"}) {
    add(fmt::format(R"("logit_bias":{{"{}":1}})", key), "logit_bias");
  }
  for (const char* value : {"101", "-101", "\"1\"", "null"}) {
    add(fmt::format(R"("logit_bias":{{"3":{}}})", value), "logit_bias.3");
  }
  add(R"("return_tokens_as_token_ids":0)", "return_tokens_as_token_ids");
  add(R"("model":5)", "model");
  add(R"("cache_salt":5)", "cache_salt");
  add(R"("temprature":1)", "temprature");
  add(R"("use_beam_search":true)", "use_beam_search");
  add(R"("skip_special_tokens":false)", "skip_special_tokens");
  return bad;
}

std::vector<BadRequest> bad_chats() {
  std::vector<BadRequest> bad;
  const auto add = [&bad](const std::string& body, const std::string& param) {
    bad.push_back({Api::chat, body, param});
  };
  add("{}", "messages");
  add(R"({"messages":"hi"})", "messages");
  add(R"({"messages":[]})", "messages");
  add(with_message("5"), "messages[0]");
  add(with_message("{}"), "messages[0].role");
  add(with_message(R"({"role":"user"})"), "messages[0].content");
  add(with_message(R"({"role":"user","content":null})"), "messages[0].content");
  add(with_message(R"({"role":"user","content":5})"), "messages[0].content");
  add(with_message(R"({"role":5,"content":"x"})"), "messages[0].role");
  add(with_message(R"({"role":"user","content":["x"]})"), "messages[0].content[0]");
  add(with_message(R"({"role":"user","content":[{"type":"text"}]})"), "messages[0].content[0].text");
  add(with_message(R"({"role":"user","content":[{"type":"image_url","image_url":{"url":"file:///etc/passwd"}}]})"),
      "messages[0].content[0].type");
  add(with_message(R"({"role":"assistant","tool_calls":5})"), "messages[0].tool_calls");
  add(with_message(R"({"role":"assistant","tool_calls":[5]})"), "messages[0].tool_calls[0]");
  add(with_message(R"({"role":"assistant","tool_calls":[{"function":{}}]})"),
      "messages[0].tool_calls[0].function.name");
  add(with_message(R"({"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":5}}]})"),
      "messages[0].tool_calls[0].function.arguments");
  add(R"({"messages":[)" + repeated(R"({"role":"user","content":"x"},)", 8192) + R"({"role":"user","content":"x"}]})",
      "messages");
  add(with_messages(R"("prompt":"x")"), "prompt");
  add(with_messages(R"("echo":true)"), "echo");
  add(with_messages(R"("logprobs":5)"), "logprobs");
  add(with_messages(R"("logprobs":true,"top_logprobs":21)"), "top_logprobs");
  add(with_messages(R"("top_logprobs":1)"), "top_logprobs");
  add(with_messages(R"("logprobs":false,"top_logprobs":1)"), "top_logprobs");
  add(with_messages(R"("max_tokens":0)"), "max_tokens");
  add(with_messages(R"("max_completion_tokens":0)"), "max_completion_tokens");
  add(with_messages(R"("tools":{})"), "tools");
  add(with_messages(R"("tools":[5])"), "tools[0]");
  add(with_messages(R"("tools":[{"type":"code"}])"), "tools[0].type");
  add(with_messages(R"("tools":[{"type":"function","function":{}}])"), "tools[0].function.name");
  add(with_messages(R"("tool_choice":"required")"), "tool_choice");
  add(with_messages(R"("tool_choice":{"type":"function"})"), "tool_choice");
  add(with_messages(R"("response_format":{"type":"json_object"})"), "response_format.type");
  add(with_messages(R"("response_format":5)"), "response_format");
  add(with_messages(R"("chat_template_kwargs":[])"), "chat_template_kwargs");
  add(with_messages(R"("add_generation_prompt":"no")"), "add_generation_prompt");
  add(with_messages(R"("modalities":["audio"])"), "modalities");
  add(with_messages(R"("functions":[{"name":"f"}])"), "functions");
  return bad;
}

TEST(BadRequest, EveryOneIsRefusedByName) {
  std::vector<BadRequest> all = bad_bodies();
  for (const auto& table : {bad_completions(), bad_sampling(), bad_chats()}) {
    all.insert(all.end(), table.begin(), table.end());
  }
  for (const BadRequest& bad : all) {
    const std::string shown = bad.body.substr(0, 200);
    try {
      (void)parse_request(bad.api, bad.body, kLimits);
      ADD_FAILURE() << "accepted: " << shown;
    } catch (const Error& e) {
      const HttpResponse response = error_response(e);
      EXPECT_EQ(response.status, 400) << shown;
      const Json error = parse_json(response.body, "error")["error"];
      EXPECT_EQ(error["type"], "invalid_request_error");
      EXPECT_EQ(error["param"].is_null() ? "" : error["param"].get<std::string>(), bad.param) << shown;
      EXPECT_GT(error["message"].get<std::string>().size(), 10u) << shown;
    }
  }
  RecordProperty("bodies", static_cast<int>(all.size()));
}

TEST(BadRequest, MessagesSayWhatIsAllowed) {
  const auto message = [](const std::string& members) -> std::string {
    try {
      completion(R"("prompt":"x",)" + members);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(message(R"("temperature":3.5)"), "temperature must be a number from 0 to 2, not 3.5.");
  EXPECT_EQ(message(R"("n":"many")"), "n must be an integer from 1 to 128, not a string.");
  EXPECT_EQ(message(R"("stop":[])"), "");
  EXPECT_EQ(message(R"("logit_bias":{"5000":1})"), "The keys of logit_bias must be token ids from 0 to 999.");
}

}  // namespace
}  // namespace arc::serve
