#include "text/post_processor.h"

#include "fmt/format.h"

#include "text/vocabulary.h"

namespace arc {
namespace {

int32_t read_id(const JsonFields& fields, const FileJson& value) {
  const bool valid = value.is_number_unsigned() && value.get<uint64_t>() < uint64_t{kMaxTokens};
  if (!valid) fields.fail("has a token id that is out of range");
  return value.get<int32_t>();
}

// TemplateProcessing: `single` lists the parts, `special_tokens` their ids.
PostProcessor read_template(const JsonFields& fields) {
  const FileJson none = FileJson::object();
  const FileJson* specials = fields.find("special_tokens");
  const JsonFields special_tokens(specials == nullptr ? none : *specials, fields.where() + " special_tokens");
  PostProcessor result;
  bool past_text = false;
  for (const FileJson& part : fields.array("single")) {
    const JsonFields part_fields(part, fields.where() + " single");
    if (part_fields.find("Sequence") != nullptr) {
      if (past_text) part_fields.unsupported("places the text twice, which is not supported");
      past_text = true;
      continue;
    }
    const JsonFields special(part_fields.at("SpecialToken"), part_fields.where());
    const std::string name = special.text("id");
    const JsonFields token(special_tokens.at(name.c_str()), special_tokens.where());
    for (const FileJson& id : token.array("ids")) {
      (past_text ? result.after : result.before).push_back(read_id(token, id));
    }
  }
  if (!past_text) fields.unsupported("drops the text, which is not supported");
  return result;
}

// BertProcessing and RobertaProcessing: `cls` before, `sep` after, each [text, id].
PostProcessor read_cls_sep(const JsonFields& fields) {
  const auto id_of = [&](const char* key) {
    const FileJson::array_t& pair = fields.array(key);
    if (pair.size() != 2) fields.fail(fmt::format("`{}` must be [text, id]", key));
    return read_id(fields, pair[1]);
  };
  return {{id_of("cls")}, {id_of("sep")}};
}

}  // namespace

PostProcessor read_post_processor(const FileJson& section) {
  if (section.is_null()) return {};
  const JsonFields fields(section, "tokenizer.json: post_processor");
  const std::string type = fields.text("type");
  if (type == "TemplateProcessing") return read_template(fields);
  if (type == "BertProcessing" || type == "RobertaProcessing") return read_cls_sep(fields);
  if (type == "ByteLevel") return {};  // moves offsets only
  if (type != "Sequence") fields.unsupported(fmt::format("`{}` is not supported", type));
  PostProcessor result;
  for (const FileJson& part : fields.array("processors")) {
    PostProcessor inner = read_post_processor(part);
    if (inner.before.empty() && inner.after.empty()) continue;
    if (!result.before.empty() || !result.after.empty())
      fields.unsupported("adds tokens twice, which is not supported");
    result = std::move(inner);
  }
  return result;
}

}  // namespace arc
