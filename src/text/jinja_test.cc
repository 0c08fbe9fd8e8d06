// Tests of the template language: limits, errors and their places, values that Python cannot have here, sharing.
#include "text/jinja.h"

#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "text/jinja_value.h"

namespace arc::jinja {
namespace {

std::string render(std::string_view source, const Json& variables = Json::object(), const Limits& limits = {}) {
  return Template(source, "t", limits).render(variables).text;
}

Error error_of(std::string_view source, const Json& variables = Json::object(), const Limits& limits = {}) {
  try {
    const std::string text = render(source, variables, limits);
    ADD_FAILURE() << source << " gave " << text.substr(0, 200);
  } catch (const Error& e) {
    return e;
  }
  return {ErrorCode::io, ""};
}

TEST(Jinja, ErrorsSayLineAndColumn) {
  const Error syntax = error_of("a\n{% if x %}\n  {{ é }} {{ 'é' ? }}{% endif %}");
  EXPECT_EQ(syntax.code(), ErrorCode::corrupt_data);
  EXPECT_STREQ(syntax.what(), "t, line 3 column 18: unexpected char '?'");
  const Error runtime = error_of("\r\n\r\n  {{ x.y }}");
  EXPECT_EQ(runtime.code(), ErrorCode::invalid_argument);
  EXPECT_STREQ(runtime.what(), "t, line 3 column 6: 'x' is undefined");
  const Error unsupported = error_of("{% include 'x' %}");
  EXPECT_EQ(unsupported.code(), ErrorCode::unsupported);
  EXPECT_STREQ(unsupported.what(), "t, line 1 column 4: unsupported tag 'include'");
  EXPECT_EQ(error_of("{{ 1|urlize }}").code(), ErrorCode::unsupported);
  EXPECT_EQ(error_of("{{ \xFF }}").code(), ErrorCode::corrupt_data);
}

TEST(Jinja, RaiseExceptionGivesItsTextAlone) {
  try {
    render("\n{{ raise_exception('No ' ~ x) }}", {{"x", "way"}});
    FAIL();
  } catch (const RaisedError& e) {
    EXPECT_STREQ(e.what(), "No way");
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
  }
}

// Each would run for ages, fill the memory or overflow the stack.
TEST(Jinja, LimitsStopHostileTemplates) {
  const Json list = {{"xs", Json::array({1, 2})}};
  const std::string grow = "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ";
  for (const std::string& source : {
           std::string("{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% "
                       "endfor %}{% endfor %}"),
           std::string("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
           std::string("{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}"),
           std::string("{% for x in xs recursive %}{{ loop(xs) }}{% endfor %}"),
           grow + "ns.x ~ ns.x %}{% endfor %}",
           grow + "ns.x + ns.x %}{% endfor %}",
           grow + "[ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
           grow + "[ns.x, ns.x] %}{% endfor %}{{ ns.x|tojson }}",
           grow +
               "[ns.x, ns.x] %}{% endfor %}{{ ns.x == [ns.x, 1] and [ns.x] == [[ns.x[0], ns.x[1]]] }}{{ ns.x|string }}",
           grow + "(ns.x, ns.x) %}{% endfor %}{{ {ns.x: 1} }}",
           grow + "ns.x.replace('a', ns.x) %}{% endfor %}",
           grow + "ns.x|replace('', ns.x) %}{% endfor %}",
           grow + "ns.x.join(ns.x) %}{% endfor %}",
           grow + "(ns.x ~ 1)|indent(ns.x ~ 2, true) %}{% endfor %}",
           grow + "'{0}{0}'.format(ns.x) %}{% endfor %}",
           grow + "'%s%s' % (ns.x, ns.x) %}{% endfor %}",
           grow + "(ns.x|list + ns.x|list)|join %}{% endfor %}",
           std::string("{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}"),
           std::string(
               "{% set ns = namespace(x='a') %}{% for i in range(9999) %}{% set ns.x = [ns.x].copy %}{% endfor %}"),
           std::string("{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}"),
           std::string("{{ 'x' * 9999999999 }}"),
           std::string("{{ [1] * 9999999999 }}"),
           std::string("{{ 'x'.center(9999999999) }}"),
           std::string("{{ 'x'.ljust(9999999999) }}{{ 'x'.zfill(9999999999) }}"),
           std::string("{{ '\t'.expandtabs(9999999999) }}"),
           std::string("{{ 'x'|indent(9999999999, true) }}"),
           std::string("{{ [1]|batch(9999999999, 0)|list }}"),
           std::string("{{ [1]|slice(9999999999)|list }}"),
       }) {
    const Error e = error_of(source, list, {.max_steps = 2'000'000});
    EXPECT_EQ(e.code(), ErrorCode::resource) << source << ": " << e.what();
  }
}

TEST(Jinja, LimitsAreAdjustable) {
  const Json none = Json::object();
  EXPECT_EQ(error_of("aaaa", none, {.max_template_bytes = 3}).code(), ErrorCode::resource);
  EXPECT_EQ(error_of("{{ 'aaaa' }}", none, {.max_output_bytes = 3}).code(), ErrorCode::resource);
  EXPECT_EQ(error_of("{% for i in range(9) %}{% endfor %}", none, {.max_steps = 9}).code(), ErrorCode::resource);
  EXPECT_EQ(error_of("{{ [[[[1]]]] }}", none, {.max_depth = 3}).code(), ErrorCode::resource);
}

TEST(Jinja, DeepNestingIsASyntaxErrorAndLongChainsAreNot) {
  for (const char* open : {"(", "[", "not ", "- ", "{'a':", "1 if 1 else "}) {
    std::string source = "{{ ";
    for (int i = 0; i < 50'000; ++i) source += open;
    EXPECT_EQ(error_of(source).code(), ErrorCode::corrupt_data) << open;
  }
  std::string ifs, sum = "{{ 0", elifs = "{% if 0 %}", filters = "{{ 'a'";
  for (int i = 0; i < 10'000; ++i) {
    ifs += "{% if 1 %}";
    sum += "+1";
    elifs += "{% elif 0 %}";
    filters += "|upper";
  }
  EXPECT_EQ(error_of(ifs).code(), ErrorCode::corrupt_data);
  EXPECT_EQ(render(elifs + "{% else %}x{% endif %}"), "x");
  EXPECT_EQ(error_of(sum + " }}").code(), ErrorCode::resource);  // a left-deep tree: stopped when it runs
  EXPECT_EQ(error_of(filters + " }}").code(), ErrorCode::resource);
}

TEST(Jinja, ManyNamesAndKeysStayCheap) {
  std::string source;
  for (int i = 0; i < 50'000; ++i) source += "{{v" + std::to_string(i) + "}}";
  EXPECT_EQ(render(source), "");
}

// Namespaces, macros and loops can hold themselves; the leak checker of the sanitizer build watches this.
TEST(Jinja, CyclesAreReleased) {
  EXPECT_EQ(render("{% set ns = namespace() %}{% set ns.x = [ns, {'k': ns}] %}{% macro m() %}{% endmacro %}"
                   "{% set ns.m = m %}{% for a in [ns] %}{% set ns.l = loop %}{% macro k() %}{{ a }}{% endmacro %}"
                   "{% set ns.k = k %}{% endfor %}{% for a in [1] recursive %}{% set ns.r = loop %}{% endfor %}ok"),
            "ok");
  EXPECT_THROW(render("{% set ns = namespace() %}{% for a in [ns] %}{% set ns.l = loop %}{{ 1 / 0 }}{% endfor %}"),
               Error);
}

TEST(Jinja, IntegersBeyond64BitsAreErrors) {
  for (const char* expression :
       {"9223372036854775807 + 1", "-9223372036854775807 - 2", "2 ** 63", "9223372036854775807 * 2",
        "99999999999999999999", "'99999999999999999999'|int", "1e30|int", "-(-9223372036854775807 - 1)",
        "(-9223372036854775807 - 1) // -1", "(-9223372036854775807 - 1)|abs"}) {
    EXPECT_NE(std::string(error_of(std::string("{{ ") + expression + " }}").what()).find("64 bits"), std::string::npos)
        << expression;
  }
  EXPECT_EQ(render("{{ 9223372036854775807 }} {{ -9223372036854775807 - 1 }} {{ (-9223372036854775807 - 1) % -1 }}"),
            "9223372036854775807 -9223372036854775808 0");
  EXPECT_THROW(render("{{ x }}", {{"x", 18446744073709551615u}}), Error);
}

TEST(Jinja, VariablesKeepTheirJsonTypesAndOrder) {
  const Json variables = Json::parse(R"({"d": {"z": 1, "a": 1.0, "m": [true, null, "é"], "e": {}}})");
  EXPECT_EQ(render("{{ d }} {{ d|tojson }}", variables),
            "{'z': 1, 'a': 1.0, 'm': [True, None, 'é'], 'e': {}} "
            R"({"z": 1, "a": 1.0, "m": [true, null, "é"], "e": {}})");
}

TEST(Jinja, OneTemplateServesManyThreads) {
  const Template shared("{% macro m(a) %}{{ a }}{% endmacro %}{% for x in xs %}{{ m(x) }}{{ missing }}{% endfor %}",
                        "t");
  std::vector<std::thread> threads;
  std::vector<std::string> texts(4);
  for (size_t i = 0; i < texts.size(); ++i) {
    threads.emplace_back([&, i] {
      const Json variables = {{"xs", Json::array({i, i})}};
      for (int round = 0; round < 200; ++round) texts[i] = shared.render(variables).text;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(texts[i], std::to_string(i) + std::to_string(i));
}

TEST(JinjaValue, EqualKeysAreOneKey) {
  Budget budget;
  Dict dict;
  dict.set(budget, 1, "int");
  dict.set(budget, true, "bool");
  dict.set(budget, 1.0, "float");
  dict.set(budget, "1", "text");
  for (int i = 2; i < 100; ++i) dict.set(budget, i, i);
  ASSERT_EQ(dict.size(), 100u);
  EXPECT_EQ(dict.find(budget, 1)->text(), "float");
  EXPECT_EQ(dict.find("1")->text(), "text");
  EXPECT_EQ(dict.find(budget, 99.0)->integer(), 99);
  EXPECT_EQ(dict.find(budget, Value::tuple({1})), nullptr);
  EXPECT_THROW(dict.find(budget, Value(Values{})), Failure);
}

}  // namespace
}  // namespace arc::jinja
