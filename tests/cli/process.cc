#include "process.h"

#include <cstdio>
#include <cstdlib>
#include <sys/wait.h>
#include <unistd.h>

namespace arc::test {
namespace {

// A file without a name, for one stream of a child.
class Stream {
 public:
  explicit Stream(const std::string& content = "") : file_(std::tmpfile()) {
    std::fwrite(content.data(), 1, content.size(), file_);
    std::rewind(file_);
  }
  ~Stream() { std::fclose(file_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void become(int descriptor) const { ::dup2(::fileno(file_), descriptor); }
  std::string content() const {
    std::string text;
    std::rewind(file_);
    for (int c = std::fgetc(file_); c != EOF; c = std::fgetc(file_)) text += static_cast<char>(c);
    return text;
  }

 private:
  std::FILE* file_;
};

}  // namespace

void become(const std::vector<std::string>& words, const std::vector<std::string>& environment) {
  for (const std::string& entry : environment) ::putenv(const_cast<char*>(entry.c_str()));
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  ::execvp(argv[0], argv.data());
  ::_exit(127);
}

int wait_for(int pid) {
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Output run_program(const std::vector<std::string>& words, const std::string& input,
                   const std::vector<std::string>& environment) {
  const Stream in(input), out, err;
  const int pid = ::fork();
  if (pid == 0) {
    in.become(STDIN_FILENO);
    out.become(STDOUT_FILENO);
    err.become(STDERR_FILENO);
    become(words, environment);
  }
  const int status = wait_for(pid);
  return {.status = status, .out = out.content(), .err = err.content()};
}

Output run_arc(std::vector<std::string> words, const std::string& input, const std::vector<std::string>& environment) {
  words.insert(words.begin(), ARC_PROGRAM);
  return run_program(words, input, environment);
}

std::string ask_health(const std::string& port) {
  return run_program({"bash", "-c",
                      "exec 3<>/dev/tcp/127.0.0.1/" + port +
                          " && printf 'GET /health HTTP/1.1\\r\\nHost: arc\\r\\nConnection: close\\r\\n\\r\\n' >&3"
                          " && head -n 1 <&3"})
      .out;
}

}  // namespace arc::test
