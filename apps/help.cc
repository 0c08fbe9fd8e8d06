// Help texts: usage, description, options by group, commands, examples; at most 80 columns.
#include "fmt/format.h"

#include "cli.h"
#include "terminal.h"

namespace arc::app {
namespace {

constexpr size_t kLeft = 26;  // columns of the options' names

std::string entry(const std::string& left, const std::string& right) {
  const std::string head = "  " + left;
  if (right.empty()) return head + "\n";
  const bool fits = head.size() + 2 <= kLeft;
  return head + (fits ? std::string(kLeft - head.size(), ' ') : "\n" + std::string(kLeft, ' ')) +
         wrapped(right, kLeft, kLeft);
}

// "-t, --threads N", "--dtype {auto,f32}", "--raw, --no-raw"; of several long names the first, and the one that
// negates.
std::string names_of(const CLI::Option& option) {
  std::string text;
  for (const std::string& name : option.get_snames()) text += "-" + name + ", ";
  if (!option.get_lnames().empty()) text += "--" + option.get_lnames().front();
  for (const std::string& name : option.get_fnames()) text += ", --" + name;
  if (text.empty()) text = option.get_name(true);
  const std::string value = value_name(option);
  return value.empty() ? text : text + " " + value;
}

// CLI11 writes a list as "[1,8]".
std::string default_of(const CLI::Option& option) {
  const std::string text = option.get_default_str();
  return text.starts_with('[') ? text.substr(1, text.size() - 2) : text;
}

std::string description_of(const CLI::Option& option) {
  std::string text = option.get_description();
  if (!option.get_default_str().empty()) text += fmt::format(" (default: {})", default_of(option));
  if (!option.get_envname().empty()) text += fmt::format(" (or the environment variable {})", option.get_envname());
  return text;
}

std::string usage(const CLI::App& app, const std::string& name) {
  std::string text = "Usage: " + name;
  if (!app.get_subcommands({}).empty()) return text + " COMMAND [OPTIONS]\n";
  text += " [OPTIONS]";
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_positional()) continue;
    const std::string value = value_name(*option).empty() ? option->get_single_name() : value_name(*option);
    text += option->get_required() ? " " + value : " [" + value + "]";
  }
  return text + "\n";
}

}  // namespace

std::string HelpFormatter::make_help(const CLI::App* app, std::string name, CLI::AppFormatMode /*mode*/) const {
  std::string text = usage(*app, name) + "\n" + wrapped(app->get_description(), 0, 0);
  for (const std::string& group : app->get_groups()) {
    std::string entries;
    for (const CLI::Option* option : app->get_options()) {
      if (option->get_group() == group) entries += entry(names_of(*option), description_of(*option));
    }
    if (!entries.empty()) text += fmt::format("\n{}:\n{}", group, entries);
  }
  std::string commands;
  for (const CLI::App* command : app->get_subcommands({})) {
    commands += entry(command->get_name(), command->get_description());
  }
  if (!commands.empty()) text += "\nCommands:\n" + commands;
  return text + "\n" + app->get_footer();
}

}  // namespace arc::app
