// Ctrl-C and SIGTERM as a question that the training loop asks between steps.
#pragma once

#include <atomic>
#include <thread>

namespace tools {

// While one lives, SIGINT and SIGTERM no longer end the program: the first says on standard error that the run is about
// to be saved and makes requested() true, a second ends the program at once with exit code 130. Make it before any
// other thread starts: signals are blocked in all threads that come after it, and a thread of its own waits for them
// (a handler could run on a fiber's small stack).
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  bool requested() const { return requested_; }

 private:
  std::atomic<bool> requested_ = false, ending_ = false;
  std::thread waiter_;
};

}  // namespace tools
