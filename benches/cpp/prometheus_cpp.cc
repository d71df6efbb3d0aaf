// What the benchmarks ask of prometheus-cpp, behind C functions. Loops are here, so that its calls
// are what they are in a C++ program.

#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <sstream>
#include <string>

namespace {

struct Texts {
  const char *ptr[3];
  std::size_t len[3];
};

struct State {
  std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();
  prometheus::Registry single;
  prometheus::Counter &counter =
      prometheus::BuildCounter().Name("requests_total").Register(single).Add({});
  prometheus::Histogram &histogram =
      prometheus::BuildHistogram().Name("wait_seconds").Register(single).Add(
          {}, prometheus::Histogram::BucketBoundaries{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
                                                      2.5, 5, 10});
  prometheus::Family<prometheus::Counter> &family = prometheus::BuildCounter()
                                                        .Name("http_server_requests_total")
                                                        .Help("Requests served")
                                                        .Register(*registry);
  std::string text;
};

State *of(void *state) { return static_cast<State *>(state); }

}  // namespace

extern "C" {

void *pcpp_new() { return new State; }

void pcpp_counter_loop(void *state, std::uint64_t times) {
  prometheus::Counter *counter = &of(state)->counter;
  for (; times != 0; --times) {
    asm volatile("" : "+r"(counter) : : "memory");
    counter->Increment();
  }
}

void pcpp_histogram_loop(void *state, const double *values, std::size_t count,
                         std::uint64_t times) {
  prometheus::Histogram *histogram = &of(state)->histogram;
  for (std::uint64_t i = 0; i < times; ++i) {
    asm volatile("" : "+r"(histogram) : : "memory");
    histogram->Observe(values[i & (count - 1)]);
  }
}

void pcpp_lookup_loop(void *state, const Texts *sets, std::size_t set_count,
                      const std::uint32_t *order, std::size_t count, std::uint64_t times) {
  auto &family = of(state)->family;
  for (std::uint64_t i = 0; i < times; ++i) {
    const Texts &set = sets[order[i % count] % set_count];
    family
        .Add({{"instance", std::string(set.ptr[0], set.len[0])},
              {"route", std::string(set.ptr[1], set.len[1])},
              {"code", std::string(set.ptr[2], set.len[2])}})
        .Increment();
  }
}

std::size_t pcpp_encode(void *state, const char **text) {
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, of(state)->registry->Collect());
  of(state)->text = std::move(out).str();
  *text = of(state)->text.data();
  return of(state)->text.size();
}
}
