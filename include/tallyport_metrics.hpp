/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Labels, and the series that a program records through. Included by tallyport.hpp; it has no use
 * alone. */
#ifndef TALLYPORT_METRICS_HPP
#define TALLYPORT_METRICS_HPP

#include "tallyport_base.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <utility>
#include <vector>

namespace tallyport {

/// A label's name and value.
using label = std::pair<std::string_view, std::string_view>;

/// Labels of one series, borrowed for one call: `{{"method", "GET"}, {"status", "200"}}`.
class labels {
public:
    labels() = default;
    labels(std::initializer_list<label> list) : labels(list.begin(), list.size()) {}
    labels(const std::vector<label> &list) : labels(list.data(), list.size()) {}

    const tallyport_label *data() const noexcept { return list_; }
    std::size_t size() const noexcept { return count_; }

private:
    /* One more than a series may have, so that the library says that they are too many. */
    static constexpr std::size_t most = 65;

    labels(const label *list, std::size_t count) : count_(count < most ? count : most) {
        for (std::size_t i = 0; i < count_; i++)
            list_[i] = {detail::str(list[i].first), detail::str(list[i].second)};
    }

    std::size_t count_ = 0;
    tallyport_label list_[most];
};

/// A sum of u64 amounts that never falls.
class counter : public detail::owned<tallyport_counter, tallyport_counter_free> {
public:
    using owned::owned;

    void add(std::uint64_t amount) const noexcept { tallyport_counter_add(get(), amount); }
    void inc() const noexcept { add(1); }
    std::uint64_t value() const noexcept { return tallyport_counter_value(get()); }
};

/// A sum of f64 amounts that never falls.
class counter_f64 : public detail::owned<tallyport_counter_f64, tallyport_counter_f64_free> {
public:
    using owned::owned;

    /// INVALID_ARGUMENT for a negative, NaN or infinite amount, of which nothing is added.
    tallyport_status add(double amount) const noexcept {
        return tallyport_counter_f64_add(get(), amount);
    }
    double value() const noexcept { return tallyport_counter_f64_value(get()); }
};

/// A sum of i64 amounts that may fall: things in flight.
class up_down_counter : public detail::owned<tallyport_up_down_counter, tallyport_up_down_counter_free> {
public:
    using owned::owned;

    void add(std::int64_t amount) const noexcept { tallyport_up_down_counter_add(get(), amount); }
    void sub(std::int64_t amount) const noexcept { tallyport_up_down_counter_sub(get(), amount); }
    std::int64_t value() const noexcept { return tallyport_up_down_counter_value(get()); }
};

/// A sum of f64 amounts that may fall.
class up_down_counter_f64 : public detail::owned<tallyport_up_down_counter_f64, tallyport_up_down_counter_f64_free> {
public:
    using owned::owned;

    /// INVALID_ARGUMENT for a NaN or infinite amount, of which nothing is added.
    tallyport_status add(double amount) const noexcept {
        return tallyport_up_down_counter_f64_add(get(), amount);
    }
    tallyport_status sub(double amount) const noexcept {
        return tallyport_up_down_counter_f64_sub(get(), amount);
    }
    double value() const noexcept { return tallyport_up_down_counter_f64_value(get()); }
};

/// A value that is set.
class gauge : public detail::owned<tallyport_gauge, tallyport_gauge_free> {
public:
    using owned::owned;

    void set(double value) const noexcept { tallyport_gauge_set(get(), value); }
    void add(double amount) const noexcept { tallyport_gauge_add(get(), amount); }
    void sub(double amount) const noexcept { tallyport_gauge_sub(get(), amount); }
    double value() const noexcept { return tallyport_gauge_value(get()); }
};

/// Observes the seconds from its making to the end of its scope.
class timer {
public:
    using clock = std::chrono::steady_clock;

    explicit timer(const tallyport_histogram *observer) noexcept
        : histogram_(observer), start_(clock::now()) {}
    timer(timer &&other) noexcept
        : histogram_(std::exchange(other.histogram_, nullptr)), start_(other.start_) {}
    timer(const timer &) = delete;
    timer &operator=(const timer &) = delete;
    timer &operator=(timer &&) = delete;
    ~timer() { stop(); }

    /// Seconds so far.
    double seconds() const noexcept {
        return std::chrono::duration<double>(clock::now() - start_).count();
    }
    /// Observes now; the end of the scope then does not.
    void stop() noexcept {
        if (const auto *histogram = std::exchange(histogram_, nullptr))
            tallyport_histogram_observe(histogram, seconds());
    }
    /// Observes nothing.
    void cancel() noexcept { histogram_ = nullptr; }

private:
    const tallyport_histogram *histogram_;
    clock::time_point start_;
};

/// Observations counted in buckets.
class histogram : public detail::owned<tallyport_histogram, tallyport_histogram_free> {
public:
    using owned::owned;

    void observe(double value) const noexcept { tallyport_histogram_observe(get(), value); }
    /// The histogram outlives the timer.
    [[nodiscard]] timer start_timer() const noexcept { return timer(get()); }
    std::uint64_t count() const noexcept { return tallyport_histogram_count(get()); }
    double sum() const noexcept { return tallyport_histogram_sum(get()); }
};

} // namespace tallyport

#endif
