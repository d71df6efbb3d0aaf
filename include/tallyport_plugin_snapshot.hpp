/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * tallyport_plugin_snapshot.hpp: the snapshot as a C++17 exporter reads it.
 *
 * Included by tallyport_plugin.hpp, which is the file to start with. The views own nothing, copy
 * nothing, and are valid until the call returns. Ranges of families are checked when the snapshot is
 * made, so walking it cannot fail; string ids are checked when they are read, and a wrong one reads
 * as "". That text is UTF-8 is the host's promise and not checked here.
 */
#ifndef TALLYPORT_PLUGIN_SNAPSHOT_HPP
#define TALLYPORT_PLUGIN_SNAPSHOT_HPP

#include "tallyport_plugin.h"

#include <cstddef>
#include <cstring>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tallyport::plugin {

/** An orderly failure: a TALLYPORT_* status, a message, and details that the host keeps. */
class error : public std::exception {
public:
    error(tallyport_status status, std::string message)
        : status_(status), message_(std::move(message)) {}

    /** The exporter failed for a reason of its own. */
    static error failed(std::string message) { return {TALLYPORT_PLUGIN_FAILED, std::move(message)}; }

    /** The option at `path` (for example `columns[2]`) is invalid. */
    static error option(const std::string &path, const std::string &message) {
        return error(TALLYPORT_INVALID_ARGUMENT, "option `" + path + "`: " + message)
            .with("option", path);
    }

    error with(std::string key, std::string value) && {
        details_.emplace_back(std::move(key), std::move(value));
        return std::move(*this);
    }

    tallyport_status status() const noexcept { return status_; }
    const char *what() const noexcept override { return message_.c_str(); }
    const std::vector<std::pair<std::string, std::string>> &details() const noexcept {
        return details_;
    }

private:
    tallyport_status status_;
    std::string message_;
    std::vector<std::pair<std::string, std::string>> details_;
};

enum class kind : uint32_t {
    counter = TALLYPORT_KIND_COUNTER,
    up_down_counter = TALLYPORT_KIND_UP_DOWN_COUNTER,
    gauge = TALLYPORT_KIND_GAUGE,
    histogram = TALLYPORT_KIND_HISTOGRAM
};

enum class number : uint32_t {
    f64 = TALLYPORT_NUMBER_F64,
    u64 = TALLYPORT_NUMBER_U64,
    i64 = TALLYPORT_NUMBER_I64
};

/** Some elements of a column. */
template <class T> class column {
public:
    column() = default;
    column(const T *first, std::size_t count) noexcept : first_(first), count_(count) {}
    const T *begin() const noexcept { return first_; }
    const T *end() const noexcept { return first_ + count_; }
    std::size_t size() const noexcept { return count_; }
    const T &operator[](std::size_t index) const noexcept { return first_[index]; }
    bool has(uint64_t start, uint64_t count) const noexcept {
        return start <= count_ && count <= count_ - start;
    }
    /** The part that begins at `start`; empty when it does not lie inside. */
    column part(uint64_t start, uint64_t count) const noexcept {
        return has(start, count) ? column(first_ + start, count) : column();
    }

private:
    const T *first_ = nullptr;
    std::size_t count_ = 0;
};

/** One value: read the member that `type` names, or convert. */
struct value {
    number type;
    uint64_t bits;

    uint64_t u64() const noexcept { return bits; }
    int64_t i64() const noexcept { return static_cast<int64_t>(bits); }
    double f64() const noexcept {
        double real;
        std::memcpy(&real, &bits, sizeof real);
        return real;
    }
    /** The value as a double, whatever its type; above 2^53 an integer is rounded. */
    double as_double() const noexcept {
        return type == number::f64   ? f64()
               : type == number::u64 ? static_cast<double>(u64())
                                     : static_cast<double>(i64());
    }
};

/** What a histogram series holds; buckets are not cumulative, the last one is up to +Inf. */
struct histogram {
    uint64_t count = 0;
    double sum = 0;
    column<uint64_t> buckets;
};

struct label {
    std::string_view name;
    std::string_view value;
};

/** Walks `list.at(0) … list.at(size - 1)`; `list` is a view and is copied. */
template <class List> class iterator {
public:
    iterator(List list, std::size_t at) noexcept : list_(list), at_(at) {}
    auto operator*() const noexcept { return list_.at(at_); }
    iterator &operator++() noexcept {
        ++at_;
        return *this;
    }
    bool operator!=(const iterator &other) const noexcept { return at_ != other.at_; }
    bool operator==(const iterator &other) const noexcept { return at_ == other.at_; }

private:
    List list_;
    std::size_t at_;
};

namespace detail {

/** The columns of a snapshot, checked once; every view points here. */
class columns {
public:
    explicit columns(const tallyport_snapshot *raw);

    std::string_view string(uint32_t id) const noexcept {
        if (!offsets.has(id, 2)) return {};
        const uint32_t start = offsets[id], end = offsets[std::size_t{id} + 1];
        if (start > end || end > bytes.size()) return {};
        return {bytes.begin() + start, end - start};
    }
    /** A family row, read with the host's stride: rows may have grown. */
    tallyport_family family(std::size_t index) const noexcept {
        tallyport_family row;
        std::memcpy(&row, families_.first + index * families_.elem_size, sizeof row);
        return row;
    }
    std::size_t family_count() const noexcept { return families_.count; }

    const tallyport_snapshot *raw;
    column<uint32_t> offsets;
    column<char> bytes;
    column<tallyport_range> label_ranges;
    column<tallyport_label_pair> label_pairs;
    column<double> bounds;
    column<uint64_t> created, values, hist_count, hist_buckets;

private:
    struct place {
        const uint8_t *first = nullptr;
        std::size_t elem_size = 0, count = 0;
    };
    static error damaged(const char *what, std::size_t number) {
        return {TALLYPORT_DAMAGED, what + std::to_string(number) + " is out of range"};
    }
    place find(uint32_t id) const;
    template <class T> void read(uint32_t id, column<T> &out) const {
        const place at = find(id);
        if (at.count == 0) return;
        if (at.elem_size != sizeof(T) || reinterpret_cast<uintptr_t>(at.first) % alignof(T) != 0)
            throw damaged("column ", id);
        out = {reinterpret_cast<const T *>(at.first), at.count};
    }
    void check(std::size_t index) const;

    place families_;
};

inline columns::columns(const tallyport_snapshot *snapshot) : raw(snapshot) {
    if (raw == nullptr) throw error(TALLYPORT_NULL_ARGUMENT, "the snapshot is NULL");
    if (!TALLYPORT_HAS(raw, tallyport_snapshot, columns))
        throw error(TALLYPORT_PLUGIN_ABI_MISMATCH, "struct_size of the snapshot is too small");
    if ((raw->column_count != 0 && raw->columns == nullptr) ||
        (raw->region_count != 0 && raw->regions == nullptr))
        throw error(TALLYPORT_DAMAGED, "the snapshot's tables are NULL");
    read(TALLYPORT_COLUMN_STR_OFF, offsets);
    read(TALLYPORT_COLUMN_STR_BYTES, bytes);
    read(TALLYPORT_COLUMN_LABEL_RANGES, label_ranges);
    read(TALLYPORT_COLUMN_LABEL_PAIRS, label_pairs);
    read(TALLYPORT_COLUMN_HIST_BOUNDS, bounds);
    read(TALLYPORT_COLUMN_CREATED_NS, created);
    read(TALLYPORT_COLUMN_VALUE_BITS, values);
    read(TALLYPORT_COLUMN_HIST_COUNT, hist_count);
    read(TALLYPORT_COLUMN_HIST_BUCKETS, hist_buckets);
    families_ = find(TALLYPORT_COLUMN_FAMILIES);
    if (families_.count != 0 && families_.elem_size < sizeof(tallyport_family))
        throw damaged("column ", TALLYPORT_COLUMN_FAMILIES);
    for (std::size_t index = 0; index < family_count(); ++index) check(index);
}

inline columns::place columns::find(uint32_t id) const {
    for (uint32_t at = 0; at < raw->column_count; ++at) {
        const tallyport_column &column = raw->columns[at];
        if (column.id != id) continue;
        if (column.region >= raw->region_count || column.elem_size == 0)
            throw damaged("column ", id);
        const tallyport_region &region = raw->regions[column.region];
        if (column.offset > region.len ||
            column.count > (region.len - column.offset) / column.elem_size)
            throw damaged("column ", id);
        if (column.count == 0) return {};
        if (region.base == nullptr) throw damaged("column ", id);
        return {region.base + column.offset, column.elem_size, column.count};
    }
    return {};
}

inline void columns::check(std::size_t index) const {
    const tallyport_family row = family(index);
    const uint64_t count = row.series_count, width = uint64_t{row.bounds_count} + 1;
    if (!label_ranges.has(row.series_start, count) || !values.has(row.series_start, count))
        throw damaged("series of family ", index);
    if (row.kind != TALLYPORT_KIND_HISTOGRAM) return;
    // Two 32-bit counts: the product cannot overflow.
    if (!bounds.has(row.bounds_start, row.bounds_count) || !hist_count.has(row.hist_start, count) ||
        !hist_buckets.has(row.bucket_start, count * width))
        throw damaged("buckets of family ", index);
}

} // namespace detail

/** The labels of a series, sorted by name. */
class label_list {
public:
    label_list(const detail::columns &columns, std::size_t row) noexcept : columns_(&columns) {
        if (!columns.label_ranges.has(row, 1)) return;
        const tallyport_range range = columns.label_ranges[row];
        pairs_ = columns.label_pairs.part(range.start, range.count);
    }
    std::size_t size() const noexcept { return pairs_.size(); }
    label at(std::size_t index) const noexcept {
        return {columns_->string(pairs_[index].name), columns_->string(pairs_[index].value)};
    }
    iterator<label_list> begin() const noexcept { return {*this, 0}; }
    iterator<label_list> end() const noexcept { return {*this, size()}; }

private:
    const detail::columns *columns_;
    column<tallyport_label_pair> pairs_;
};

/** One series: a label set and a value. */
class series {
public:
    series(const detail::columns &columns, const tallyport_family &family, uint32_t index) noexcept
        : columns_(&columns), family_(family), index_(index) {}

    label_list labels() const noexcept { return {*columns_, row()}; }
    /** When the series was created, in nanoseconds since the Unix epoch; 0 = not known. */
    uint64_t created_ns() const noexcept {
        return columns_->created.has(row(), 1) ? columns_->created[row()] : 0;
    }
    /** The value; of a histogram its sum. */
    plugin::value value() const noexcept {
        const bool sum = family_.kind == TALLYPORT_KIND_HISTOGRAM;
        return {sum ? number::f64 : static_cast<number>(family_.number), columns_->values[row()]};
    }
    /** Count, sum and buckets; nothing for other kinds. */
    std::optional<plugin::histogram> histogram() const noexcept {
        if (family_.kind != TALLYPORT_KIND_HISTOGRAM) return std::nullopt;
        const uint64_t width = uint64_t{family_.bounds_count} + 1;
        return plugin::histogram{columns_->hist_count[std::size_t{family_.hist_start} + index_],
                                 value().f64(),
                                 columns_->hist_buckets.part(family_.bucket_start + index_ * width,
                                                             width)};
    }

private:
    std::size_t row() const noexcept { return std::size_t{family_.series_start} + index_; }

    const detail::columns *columns_;
    tallyport_family family_;
    uint32_t index_;
};

/** The series of a family. */
class series_list {
public:
    series_list(const detail::columns &columns, const tallyport_family &family) noexcept
        : columns_(&columns), family_(family) {}
    std::size_t size() const noexcept { return family_.series_count; }
    plugin::series at(std::size_t index) const noexcept {
        return {*columns_, family_, static_cast<uint32_t>(index)};
    }
    iterator<series_list> begin() const noexcept { return {*this, 0}; }
    iterator<series_list> end() const noexcept { return {*this, size()}; }

private:
    const detail::columns *columns_;
    tallyport_family family_;
};

/** One family: a name, what it means, and its series. */
class family {
public:
    family(const detail::columns &columns, const tallyport_family &row) noexcept
        : columns_(&columns), row_(row) {}

    std::string_view name() const noexcept { return columns_->string(row_.name); }
    std::string_view help() const noexcept { return columns_->string(row_.help); }
    std::string_view unit() const noexcept { return columns_->string(row_.unit); }
    plugin::kind kind() const noexcept { return static_cast<plugin::kind>(row_.kind); }
    plugin::number number() const noexcept { return static_cast<plugin::number>(row_.number); }
    /** Finite upper bounds of a histogram, increasing; empty for other kinds. */
    column<double> bounds() const noexcept {
        if (row_.kind != TALLYPORT_KIND_HISTOGRAM) return {};
        return columns_->bounds.part(row_.bounds_start, row_.bounds_count);
    }
    series_list series() const noexcept { return {*columns_, row_}; }

    /** Whether this header knows the kind and the number type; others are not listed. */
    bool is_known() const noexcept {
        return row_.kind >= TALLYPORT_KIND_COUNTER && row_.kind <= TALLYPORT_KIND_HISTOGRAM &&
               row_.number >= TALLYPORT_NUMBER_F64 && row_.number <= TALLYPORT_NUMBER_I64;
    }

private:
    const detail::columns *columns_;
    tallyport_family row_;
};

/** The families of a known kind and number type. */
class family_list {
public:
    class iterator {
    public:
        iterator(const detail::columns &columns, std::size_t at) noexcept
            : columns_(&columns), at_(at) {
            skip();
        }
        family operator*() const noexcept { return {*columns_, columns_->family(at_)}; }
        iterator &operator++() noexcept {
            ++at_;
            skip();
            return *this;
        }
        bool operator!=(const iterator &other) const noexcept { return at_ != other.at_; }
        bool operator==(const iterator &other) const noexcept { return at_ == other.at_; }

    private:
        void skip() noexcept {
            while (at_ < columns_->family_count() && !(**this).is_known()) ++at_;
        }
        const detail::columns *columns_;
        std::size_t at_;
    };

    explicit family_list(const detail::columns &columns) noexcept : columns_(&columns) {}
    iterator begin() const noexcept { return {*columns_, 0}; }
    iterator end() const noexcept { return {*columns_, columns_->family_count()}; }

private:
    const detail::columns *columns_;
};

/** Metrics at one time. Throws TALLYPORT_DAMAGED where a column or a range is misplaced. */
class snapshot {
public:
    explicit snapshot(const tallyport_snapshot *raw) : columns_(raw) {}

    /** Identity of the schema: text rendered from names and labels may be kept by it. */
    uint64_t schema_id() const noexcept { return columns_.raw->schema_id; }
    /** When the values were read, in nanoseconds since the Unix epoch. */
    uint64_t time_unix_ns() const noexcept { return columns_.raw->time_unix_ns; }
    /** Number of series in all families. */
    uint64_t series_count() const noexcept { return columns_.raw->series_count; }
    /** The families, in the host's order. The snapshot outlives them. */
    family_list families() const noexcept { return family_list(columns_); }

private:
    detail::columns columns_;
};

} // namespace tallyport::plugin

#endif /* TALLYPORT_PLUGIN_SNAPSHOT_HPP */
