// Completion scripts for shells, made from the definition of the command line.
#include <map>

#include "fmt/format.h"
#include "fmt/ranges.h"

#include "cli.h"

namespace arc::app {
namespace {

// What may follow an option on the command line.
struct Value {
  bool none = false;                 // a flag
  bool file = false;                 // the name of a file or folder
  std::vector<std::string> choices;  // empty: anything
};

Value value_of(const CLI::Option& option) {
  const std::string name = value_name(option);
  Value value{.none = option.get_items_expected_max() == 0, .file = name == "FILE" || name == "MODEL"};
  if (!name.starts_with('{')) return value;
  std::string choices = name.substr(1, name.size() - 2);
  for (const std::string& choice : CLI::detail::split(choices, ',')) value.choices.push_back(choice);
  return value;
}

std::vector<std::string> spellings(const CLI::Option& option) {
  std::vector<std::string> all;
  for (const std::string& name : option.get_snames()) all.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) all.push_back("--" + name);
  return all;
}

std::string quoted(std::string text) {
  for (size_t at = 0; (at = text.find('\'', at)) != std::string::npos; at += 4) text.replace(at, 1, "'\\''");
  return "'" + text + "'";
}

std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  return app.get_subcommands({});
}

// ---- bash

std::string bash_script(const CLI::App& app) {
  std::string values, words;
  std::vector<std::string> commands;
  for (const CLI::App* command : commands_of(app)) {
    const std::string& name = command->get_name();
    commands.push_back(name);
    std::vector<std::string> offered;
    for (const CLI::Option* option : command->get_options()) {
      const Value value = value_of(*option);
      std::vector<std::string> patterns;
      for (const std::string& spelling : spellings(*option)) {
        offered.push_back(spelling);
        patterns.push_back(name + "," + spelling);
      }
      if (patterns.empty()) offered.insert(offered.end(), value.choices.begin(), value.choices.end());
      if (value.none || patterns.empty()) continue;
      const std::string action = value.file              ? "compopt -o filenames; words=$(compgen -f -- \"$current\")"
                                 : value.choices.empty() ? "return"
                                                         : fmt::format("words='{}'", fmt::join(value.choices, "\n"));
      values += fmt::format("    {}) {} ;;\n", fmt::join(patterns, " | "), action);
    }
    words += fmt::format("        {}) words='{}' ;;\n", name, fmt::join(offered, "\n"));
  }
  return fmt::format(R"(# bash completion for arc
_arc() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}} command= word words=
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD - 1}}"; do
    [[ $word == -* ]] || {{ command=$word; break; }}
  done
  case $command,$previous in
{}    *)
      case $command in
{}        '') words='{}
--help
--version' ;;
      esac ;;
  esac
  local IFS=$'\n'
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -F _arc arc
)",
                     values, words, fmt::join(commands, "\n"));
}

// ---- zsh

// _arguments takes "name[text]:message:action"; these characters would end a part.
std::string zsh_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string zsh_action(const CLI::Option& option) {
  const Value value = value_of(option);
  if (value.none) return "";
  const std::string action = value.file              ? "_files"
                             : value.choices.empty() ? " "
                                                     : fmt::format("({})", fmt::join(value.choices, " "));
  return fmt::format(":{}:{}", zsh_text(option.get_single_name()), action);
}

std::string zsh_script(const CLI::App& app) {
  std::string commands, cases;
  for (const CLI::App* command : commands_of(app)) {
    commands += "    " + quoted(command->get_name() + ":" + zsh_text(command->get_description())) + "\n";
    cases += fmt::format("    {})\n      _arguments \\\n", command->get_name());
    for (const CLI::Option* option : command->get_options()) {
      if (option->get_positional()) cases += fmt::format("        {} \\\n", quoted("1" + zsh_action(*option)));
      for (const std::string& spelling : spellings(*option)) {
        cases += fmt::format(
            "        {} \\\n",
            quoted(fmt::format("{}[{}]{}", spelling, zsh_text(option->get_description()), zsh_action(*option))));
      }
    }
    cases += "        && return\n      ;;\n";
  }
  return fmt::format(R"(#compdef arc
_arc() {{
  local -a commands
  commands=(
{}  )
  if ((CURRENT == 2)); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  ((CURRENT--))
  case $command in
{}  esac
}}
compdef _arc arc
)",
                     commands, cases);
}

// ---- fish

std::string fish_script(const CLI::App& app) {
  std::string text = "# fish completion for arc\ncomplete -c arc -f\n";
  for (const CLI::App* command : commands_of(app)) {
    const std::string& name = command->get_name();
    text +=
        fmt::format("complete -c arc -n __fish_use_subcommand -a {} -d {}\n", name, quoted(command->get_description()));
    for (const CLI::Option* option : command->get_options()) {
      const Value value = value_of(*option);
      std::string line = fmt::format("complete -c arc -n '__fish_seen_subcommand_from {}'", name);
      for (const std::string& short_name : option->get_snames()) line += " -s " + short_name;
      for (const std::string& long_name : option->get_lnames()) line += " -l " + long_name;
      if (!value.none && !option->get_positional()) line += value.file ? " -r -F" : " -x";
      if (!value.choices.empty()) line += fmt::format(" -a '{}'", fmt::join(value.choices, " "));
      text += line + " -d " + quoted(option->get_description()) + "\n";
    }
  }
  return text;
}

}  // namespace

std::string value_name(const CLI::Option& option) {
  const std::string name = option.get_type_name();  // "TEXT", or with the names of checks: "TEXT:{a,b}"
  const size_t colon = name.find(':');
  if (colon != std::string::npos && name.compare(colon + 1, 1, "{") == 0) return name.substr(colon + 1);
  return name.substr(0, colon);
}

std::string completion_script(const CLI::App& app, const std::string& shell) {
  return shell == "bash" ? bash_script(app) : shell == "zsh" ? zsh_script(app) : fish_script(app);
}

}  // namespace arc::app
