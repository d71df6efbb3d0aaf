/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Families by label values: recording without an object for each series. Included by tallyport.hpp;
 * it has no use alone. */
#ifndef TALLYPORT_FAMILIES_HPP
#define TALLYPORT_FAMILIES_HPP

#include "tallyport_base.hpp"

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <vector>

namespace tallyport {

/// Texts in order, borrowed for one call: a family's label names, or the values of one series.
class texts {
public:
    texts() = default;
    texts(std::initializer_list<std::string_view> list) : texts(list.begin(), list.size()) {}
    texts(const std::vector<std::string_view> &list) : texts(list.data(), list.size()) {}

    const tallyport_str *data() const noexcept { return list_; }
    std::size_t size() const noexcept { return count_; }

private:
    /* One more than a series may have, so that the library says that they are too many. */
    static constexpr std::size_t most = 65;

    texts(const std::string_view *list, std::size_t count) : count_(count < most ? count : most) {
        for (std::size_t i = 0; i < count_; i++) list_[i] = detail::str(list[i]);
    }

    std::size_t count_ = 0;
    tallyport_str list_[most];
};

/// Counters of u64 amounts by label values, in the order of the family's names.
class counter_family : public detail::owned<tallyport_counter_family, tallyport_counter_family_free> {
public:
    using owned::owned;

    /// Past a limit of series it adds to the family's overflow series.
    returned<void> add(const texts &values, std::uint64_t amount) const {
        tallyport_error *err = nullptr;
        return detail::done(
            tallyport_counter_family_add(get(), values.data(), values.size(), amount, &err), err);
    }
    returned<void> inc(const texts &values) const { return add(values, 1); }
};

/// Counters of f64 amounts by label values.
class counter_f64_family
    : public detail::owned<tallyport_counter_f64_family, tallyport_counter_f64_family_free> {
public:
    using owned::owned;

    returned<void> add(const texts &values, double amount) const {
        tallyport_error *err = nullptr;
        return detail::done(
            tallyport_counter_f64_family_add(get(), values.data(), values.size(), amount, &err), err);
    }
};

/// Up-down counters of i64 amounts by label values.
class up_down_counter_family
    : public detail::owned<tallyport_up_down_counter_family, tallyport_up_down_counter_family_free> {
public:
    using owned::owned;

    returned<void> add(const texts &values, std::int64_t amount) const {
        tallyport_error *err = nullptr;
        return detail::done(tallyport_up_down_counter_family_add(get(), values.data(),
                                                                 values.size(), amount, &err),
                            err);
    }
};

/// Up-down counters of f64 amounts by label values.
class up_down_counter_f64_family
    : public detail::owned<tallyport_up_down_counter_f64_family,
                           tallyport_up_down_counter_f64_family_free> {
public:
    using owned::owned;

    returned<void> add(const texts &values, double amount) const {
        tallyport_error *err = nullptr;
        return detail::done(tallyport_up_down_counter_f64_family_add(get(), values.data(),
                                                                     values.size(), amount, &err),
                            err);
    }
};

/// Gauges by label values.
class gauge_family : public detail::owned<tallyport_gauge_family, tallyport_gauge_family_free> {
public:
    using owned::owned;

    /// LIMIT past a limit of series: gauges cannot be folded.
    returned<void> set(const texts &values, double value) const {
        tallyport_error *err = nullptr;
        return detail::done(
            tallyport_gauge_family_set(get(), values.data(), values.size(), value, &err), err);
    }
    returned<void> add(const texts &values, double amount) const {
        tallyport_error *err = nullptr;
        return detail::done(
            tallyport_gauge_family_add(get(), values.data(), values.size(), amount, &err), err);
    }
};

/// Histograms by label values.
class histogram_family
    : public detail::owned<tallyport_histogram_family, tallyport_histogram_family_free> {
public:
    using owned::owned;

    returned<void> observe(const texts &values, double value) const {
        tallyport_error *err = nullptr;
        return detail::done(
            tallyport_histogram_family_observe(get(), values.data(), values.size(), value, &err),
            err);
    }
};

} // namespace tallyport

#endif /* TALLYPORT_FAMILIES_HPP */
