// What this process says on its terminal when Ctrl-C or `kill` arrives. A computation keeps the event loop from
// turning, so that a listener of JavaScript would run minutes later: the signal's handler writes texts that were made
// ready before.
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <string>

#include "exports.h"

namespace {

// A terminal's Ctrl-C reaches this process twice where npm has started it: npm hands it on. src/distributed/signals.ts
// has it, too.
constexpr int64_t kSameSignalMs = 500;

struct Words {
  int descriptor;
  std::string last;                  // when the signal ends the process
  std::optional<std::string> noted;  // when it is the first, and a listener of JavaScript takes it; else there is none
};

// What was made ready for one signal, and what the signal does without it: what libuv or Node has set, or the default.
struct Speech {
  std::atomic<const Words*> words{nullptr};
  struct sigaction before{};
};

Speech interrupted;
Speech terminated;
std::atomic<int64_t> noted_at{0};  // when a listener was given the first signal, of both; 0 for never

Speech& SpeechOf(int signal) { return signal == SIGINT ? interrupted : terminated; }

int64_t Milliseconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{1000} * now.tv_sec + now.tv_nsec / 1000000 + 1;
}

void Write(int descriptor, const std::string& text) {
  const ssize_t written = write(descriptor, text.data(), text.size());
  static_cast<void>(written);  // nothing can be done about a terminal that has gone
}

// Runs in whichever thread the signal has found: calls nothing that allocates or locks. A process that is to end ends
// as it would have without this: by the signal, which is sent again and arrives once this function has returned.
void Speak(int signal) {
  const int failed = errno;
  Speech& speech = SpeechOf(signal);
  const Words* words = speech.words.load();
  int64_t first = 0;
  const int64_t now = Milliseconds();
  if (words->noted && noted_at.compare_exchange_strong(first, now)) {
    Write(words->descriptor, *words->noted);
    speech.before.sa_handler(signal);  // libuv's: wakes the event loop
  } else if (!words->noted || now - first >= kSameSignalMs) {
    Write(words->descriptor, words->last);
    struct sigaction ending = speech.before;
    if (words->noted) ending.sa_handler = SIG_DFL;
    sigaction(signal, &ending, nullptr);
    raise(signal);
  }
  errno = failed;
}

// lastWords(signal, descriptor, last, noted): from now on SIGINT or SIGTERM, `signal`, writes `last` before it ends
// this process. With `noted`, JavaScript listens: the first signal writes `noted` and is the listener's, and the next
// one, of either, ends the process. To be called again whenever listeners come or go, which undo it. A signal that is
// ignored stays so.
void LastWords(Info info) {
  const auto signal = static_cast<int>(IntegerOf(info, 0, SIGINT, SIGTERM));
  if (signal != SIGINT && signal != SIGTERM) RejectArgument(info, 0, "SIGINT or SIGTERM");
  const auto descriptor = static_cast<int>(IntegerOf(info, 1, 0, INT32_MAX));
  auto* words = new Words{descriptor, StringOf(info, 2), {}};
  if (IsGiven(info, 3)) words->noted = StringOf(info, 3);
  Speech& speech = SpeechOf(signal);
  struct sigaction found;
  sigaction(signal, nullptr, &found);
  const bool is_ours = found.sa_handler == Speak;
  if (!is_ours) speech.before = found;
  speech.words = words;  // the one before is never freed: a handler may be reading it, and a run has a handful
  noted_at = 0;
  if (is_ours || found.sa_handler == SIG_IGN) return;
  struct sigaction speaking{};
  speaking.sa_handler = Speak;
  speaking.sa_flags = SA_RESTART;
  sigfillset(&speaking.sa_mask);
  sigaction(signal, &speaking, nullptr);
}

}  // namespace

void InitLastWords(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "lastWords", LastWords,
         {{"signal", kInteger}, {"descriptor", kInteger}, {"last", kString}, {"noted", kString, true}});
}
