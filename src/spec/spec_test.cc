// Tests of spec: reading configs in both dialects, refusing what is not understood, and the frequencies of each rope
// scaling.
#include <cmath>
#include <functional>
#include <numbers>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "base/json.h"
#include "spec/config.h"
#include "spec/model_spec.h"
#include "spec/rope.h"

namespace arc {
namespace {

Config config(const std::string& text) {
  return Config(parse_json(text, "config.json"));
}

std::string error_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(Config, ErrorsNameTheKey) {
  const Config c = config(R"({"a": 1.5, "b": "x", "c": null, "d": 1e12})");
  EXPECT_NE(error_of([&] { c.i("a"); }).find("\"a\""), std::string::npos);
  EXPECT_NE(error_of([&] { c.i("b"); }).find("\"b\""), std::string::npos);
  EXPECT_NE(error_of([&] { c.i("c"); }).find("lacks \"c\""), std::string::npos);
  EXPECT_NE(error_of([&] { c.i("d"); }).find("\"d\""), std::string::npos);
  EXPECT_EQ(c.i_or("c", 7), 7);
  EXPECT_EQ(c.f("a"), 1.5);
}

TEST(Config, UnknownKeysAreAnErrorAtEveryDepth) {
  const Config c = config(R"({"known": 1, "mystery": 2, "rope": {"factor": 2, "secret": 3}})");
  c.i("known");
  EXPECT_NE(error_of([&] { c.expect_known(); }).find("mystery"), std::string::npos);
  c.ignore({"mystery"});
  c.object_or_empty("rope").f("factor");
  const std::string nested = error_of([&] { c.expect_known(); });
  EXPECT_NE(nested.find("secret"), std::string::npos);
  EXPECT_EQ(nested.find("factor"), std::string::npos);
}

TEST(Config, TextConfigLiesOverTheTopLevel) {
  const Config c =
      config(R"({"architectures": ["Outer"], "n": 1, "text_config": {"architectures": ["Inner"], "n": 2}})");
  EXPECT_EQ(c.i("n"), 2);
  EXPECT_EQ(c.architecture(), "Outer");
}

TEST(Rope, BothDialectsGiveTheSameRotation) {
  const RopeSpec flat =
      rope_from(config(R"({"rope_theta": 5e5, "rope_scaling": {"type": "llama3", "factor": 8, "low_freq_factor": 1,
                 "high_freq_factor": 4, "original_max_position_embeddings": 8192}})"),
                128);
  const RopeSpec nested = rope_from(
      config(R"({"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8, "low_freq_factor": 1,
                 "high_freq_factor": 4, "original_max_position_embeddings": 8192}})"),
      128);
  EXPECT_EQ(flat, nested);
  const RopeSpec local = rope_from(
      config(
          R"({"rope_parameters": {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}})"),
      64, "sliding_attention");
  EXPECT_EQ(local.theta, 1e4);
  // The factor inside wins over the one outside.
  EXPECT_EQ(
      rope_from(config(R"({"partial_rotary_factor": 1.0, "rope_parameters": {"partial_rotary_factor": 0.25}})"), 256)
          .dims,
      64);
}

TEST(Rope, UnknownScalingIsRefused) {
  EXPECT_NE(error_of([] { rope_from(config(R"({"rope_scaling": {"rope_type": "spiral"}})"), 64); }).find("spiral"),
            std::string::npos);
}

TEST(Rope, Llama3KeepsShortWavesAndStretchesLongOnes) {
  const RopeSpec rope{
      .dims = 128, .theta = 5e5, .scaling = RopeSpec::Scaling::llama3, .factor = 8, .original_positions = 8192};
  const std::vector<double> scaled = rope_frequencies(rope);
  for (size_t i = 0; i < scaled.size(); ++i) {
    const double plain = std::pow(5e5, -2.0 * static_cast<double>(i) / 128), wavelength = 2 * std::numbers::pi / plain;
    if (wavelength < 8192.0 / 4) {
      EXPECT_DOUBLE_EQ(scaled[i], plain) << i;
    }
    if (wavelength > 8192.0) {
      EXPECT_DOUBLE_EQ(scaled[i], plain / 8) << i;
    }
  }
}

// The published temperature of YaRN: 0.1 ln(s) + 1.
TEST(Rope, YarnTemperature) {
  EXPECT_DOUBLE_EQ(yarn_mscale(40, 1.0), 0.1 * std::log(40.0) + 1.0);
  EXPECT_EQ(yarn_mscale(1.0, 1.0), 1.0);
}

TEST(Validate, NamesTheLayerAndTheRule) {
  const AttentionSpec good{.heads = 4, .kv_heads = 2, .head_dim = 16, .rope = {.dims = 16}};
  ModelSpec model{.arch = "t", .vocab = 10, .dim = 8};
  model.layers.assign(3, {.mixer = good, .ffn = MlpSpec{.hidden = 4}});
  EXPECT_NO_THROW(validate(model));
  const auto broken = [&](auto change) {
    ModelSpec copy = model;
    change(copy);
    return error_of([&] { validate(copy); });
  };
  EXPECT_NE(broken([](ModelSpec& m) { std::get<AttentionSpec>(m.layers[1].mixer).kv_heads = 3; }).find("layer 1"),
            std::string::npos);
  EXPECT_NE(broken([](ModelSpec& m) { std::get<AttentionSpec>(m.layers[2].mixer).head_dim = 4096; }).find("head_dim"),
            std::string::npos);
  EXPECT_NE(broken([](ModelSpec& m) { m.layers.clear(); }), "");
  EXPECT_NE(broken([](ModelSpec& m) { m.vocab = -1; }), "");
  EXPECT_NE(broken([](ModelSpec& m) {
              m.layers[0].ffn = MoeSpec{.router = {.experts = 4, .top_k = 5}, .expert = {.hidden = 8}};
            }),
            "");
}

}  // namespace
}  // namespace arc
