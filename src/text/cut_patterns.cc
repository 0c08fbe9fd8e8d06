#include "text/cut_patterns.h"

#include <algorithm>
#include <array>
#include <span>
#include <string>

#include "fmt/format.h"

#include "base/error.h"
#include "text/unicode.h"

namespace arc {
namespace {

// Steps of the `tokenizers` library that are no regular expression stand in a list of cuts under these names.
constexpr std::string_view kDigit = "each digit", kDigits = "runs of digits", kMarks = "runs of punctuation",
                           kMark = "each punctuation", kBytes = "bytes";

// A capital letter after a small one begins a word of its own.
constexpr std::string_view kO200k =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kYoutu =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekken = R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
                                     R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
                                     R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDeepseek3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDeepseekLatin =
    R"(\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\x{1F7D}ᾀ-ᾴᾶ-ᾼ\x{1FBE}ῂ-ῄῆ-ῌῐ-\x{1FD3}ῖ-\x{1FDB}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\x{2126}ℨ\x{212A}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+)";
constexpr std::string_view kDeepseekHan = "[一-龥ࠀ-一가-퟿]+", kHanAndKana = "[一-龥぀-ゟ゠-ヿ]+";
constexpr std::string_view kBloom = R"( ?[^(\s|.,!?…。，、।۔،)]+)";
constexpr std::string_view kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kBailing =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)";
constexpr std::string_view kSeedCoder =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kJais2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|)"
    R"(\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1})";
constexpr std::string_view kExaoneMoe =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+)";
constexpr std::string_view kMinicpm5 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kSpark =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+)";
constexpr std::string_view kUfakzeka =
    R"([^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr std::string_view
    kLlama3Cuts[] = {kLlama3Cut},
    kQwen2Cuts[] = {kQwen2Cut}, kGpt2Cuts[] = {kGpt2Cut}, kDigitCuts[] = {kDigit, kGpt2Cut}, kO200kCuts[] = {kO200k},
    kTekkenCuts[] = {kTekken}, kKimiCuts[] = {kKimiCut}, kQwen35Cuts[] = {kQwen35}, kBloomCuts[] = {kBloom},
    kVikingCuts[] = {kBloom, kDigit}, kBailingCuts[] = {kBailing}, kSeedCoderCuts[] = {kSeedCoder},
    kJais2Cuts[] = {kJais2}, kExaoneMoeCuts[] = {kExaoneMoe}, kUfakzekaCuts[] = {kUfakzeka},
    kMinicpm5Cuts[] = {R"(\p{N}{1,3})", kMinicpm5}, kDeepseek3Cuts[] = {R"(\p{N}{1,3})", kHanAndKana, kDeepseek3},
    kSparkCuts[] = {R"(\p{N}{1,3})", kHanAndKana, kSpark, R"(\p{N})"},
    kDeepseekCuts[] = {"[\r\n]", kDeepseekLatin, R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)", R"(\s+$)", kDeepseekHan, kDigit},
    kDeepseekCoderCuts[] = {"[\r\n]", R"(\s?\p{L}+)", R"(\s?\p{P}+)", kDeepseekHan, kDigit},
    kFalconCuts[] = {kMarks, kGpt2Cut, kBytes, kDigits, "[0-9][0-9][0-9]"},
    kTinyAyaCuts[] = {R"(\d{1,3}(?=(?:\d{3})*\b))", kO200k}, kSuperBpeCuts[] = {R"(\p{N}+)", R"((?=(\d{3})+(?!\d)))"},
    kLagunaCuts[] = {R"([^\n]+|[\n]+)", kQwen2Cut},
    kYoutuCuts[] =
        {"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+",
         kYoutu},
    kChameleonCuts[] =
        {"<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )", kDigit, kMark, kGpt2Cut},
    // Files from before the key have no name for their cut; llama.cpp gives them this one.
    kDefaultCuts[] = {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2Cut, R"(\p{N}+)", "[0-9][0-9][0-9]"};

struct Family {
  std::string_view names;  // separated by spaces
  std::span<const std::string_view> cuts;
  bool nfc = false, ignore_merges = false, add_bos = false, add_sep = false;
};

// Names: llama.cpp's. Cuts: those of the models' own tokenizer.json, where the format's differ from them in form only.
constexpr Family kFamilies[] = {
    {.names = "default", .cuts = kDefaultCuts},
    {.names = "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
     .cuts = kLlama3Cuts,
     .ignore_merges = true,
     .add_bos = true},
    {.names = "glm4 glm5", .cuts = kLlama3Cuts, .ignore_merges = true},
    {.names = "dbrx smaug-bpe chatglm-bpe", .cuts = kLlama3Cuts},
    {.names = "qwen2 deepseek-r1-qwen f2llmv2 stablelm2 hunyuan", .cuts = kQwen2Cuts, .nfc = true},
    {.names = "kormo megrez grok-2 solar-open", .cuts = kQwen2Cuts},
    {.names = "qwen35", .cuts = kQwen35Cuts, .nfc = true},
    {.names = "gpt-2 phi-2 jina-es jina-de jina-v2-es jina-v2-de gigachat a.x-4.0 mellum exaone4 jais trillion "
              "granite-docling",
     .cuts = kGpt2Cuts},
    {.names = "mpt olmo modern-bert", .cuts = kGpt2Cuts, .nfc = true},
    {.names = "jina-v1-en jina-v2-code roberta-bpe", .cuts = kGpt2Cuts, .add_sep = true},
    {.names = "starcoder refact smollm codeshell exaone minerva-7b mellum2", .cuts = kDigitCuts},
    {.names = "command-r", .cuts = kDigitCuts, .nfc = true},
    {.names = "gpt-4o llama4 kanana2 talkie minimax-m2", .cuts = kO200kCuts},
    {.names = "granite-embed-multi-97m", .cuts = kO200kCuts, .ignore_merges = true},
    {.names = "tekken", .cuts = kTekkenCuts, .ignore_merges = true, .add_bos = true},
    {.names = "kimi-k2", .cuts = kKimiCuts},
    {.names = "deepseek-v3 hunyuan-dense joyai-llm hy_v4", .cuts = kDeepseek3Cuts},
    {.names = "deepseek-llm", .cuts = kDeepseekCuts},
    {.names = "deepseek-coder", .cuts = kDeepseekCoderCuts},
    {.names = "spark2_5", .cuts = kSparkCuts},
    {.names = "youtu", .cuts = kYoutuCuts, .ignore_merges = true},
    {.names = "falcon", .cuts = kFalconCuts},
    {.names = "bloom gpt3-finnish poro-chat", .cuts = kBloomCuts},
    {.names = "viking", .cuts = kVikingCuts},
    {.names = "chameleon", .cuts = kChameleonCuts, .add_bos = true},
    {.names = "tiny_aya cohere2moe", .cuts = kTinyAyaCuts},
    {.names = "superbpe", .cuts = kSuperBpeCuts},
    {.names = "bailingmoe bailingmoe2 llada-moe", .cuts = kBailingCuts},
    {.names = "seed-coder", .cuts = kSeedCoderCuts},
    {.names = "jais-2", .cuts = kJais2Cuts},
    {.names = "exaone-moe", .cuts = kExaoneMoeCuts},
    {.names = "ufakzeka", .cuts = kUfakzekaCuts},
    {.names = "laguna", .cuts = kLagunaCuts},
    {.names = "minicpm5", .cuts = kMinicpm5Cuts, .ignore_merges = true},
};

bool has_name(const Family& family, std::string_view name) {
  for (std::string_view rest = family.names; !rest.empty();) {
    const std::string_view word = rest.substr(0, rest.find(' '));
    if (word == name) return true;
    rest.remove_prefix(std::min(word.size() + 1, rest.size()));
  }
  return false;
}

PreTokenizerStep step_of(std::string_view cut) {
  if (cut == kBytes) return ByteLevelStep{};
  if (cut == kDigit) return SplitStep{CharTest(is_unicode_numeric)};
  if (cut == kDigits) return SplitStep{CharTest(is_unicode_numeric), SplitBehavior::contiguous};
  if (cut == kMark) return SplitStep{CharTest(is_unicode_punctuation)};
  if (cut == kMarks) return SplitStep{CharTest(is_unicode_punctuation), SplitBehavior::contiguous};
  return SplitStep{Regex(cut)};
}

}  // namespace

GgufPre gguf_pre(std::string_view name) {
  const auto* family =
      std::ranges::find_if(kFamilies, [name](const Family& candidate) { return has_name(candidate, name); });
  if (family == std::end(kFamilies)) {
    throw Error(
        ErrorCode::unsupported,
        fmt::format("tokenizer.ggml.pre is \"{}\": how text is cut under that name is not known to Arc; use the "
                    "model's folder with tokenizer.json instead",
                    name));
  }
  GgufPre pre{.nfc = family->nfc,
              .ignore_merges = family->ignore_merges,
              .add_bos = family->add_bos,
              .add_sep = family->add_sep};
  for (const std::string_view cut : family->cuts) pre.pre_tokenizer.steps.emplace_back(step_of(cut));
  if (std::ranges::find(family->cuts, kBytes) == family->cuts.end()) {
    pre.pre_tokenizer.steps.emplace_back(ByteLevelStep{});
  }
  return pre;
}

}  // namespace arc
