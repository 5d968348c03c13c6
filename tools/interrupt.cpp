#include "tools/interrupt.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <string>

#include "tools/command.h"

namespace tools {
namespace {

sigset_t both() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

}  // namespace

Interrupt::Interrupt() {
  const sigset_t set = both();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  waiter_ = std::thread([this, set] {
    for (;;) {
      int signal = 0;
      sigwait(&set, &signal);
      if (ending_) return;
      if (requested_.exchange(true)) ::_exit(exit_interrupted);
      const char* line_start = ::isatty(STDERR_FILENO) == 1 ? "\r\x1b[K" : "";  // over the progress bar and its ^C
      print_message(std::string(line_start) + "interrupted: finishing this step, then saving (once more ends at once)");
    }
  });
}

Interrupt::~Interrupt() {
  ending_ = true;
  pthread_kill(waiter_.native_handle(), SIGTERM);  // ends its wait
  waiter_.join();
  const sigset_t set = both();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

}  // namespace tools
