/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * statsd_lines.cpp: the exporter of statsd_lines.c with tallyport_plugin.hpp, byte for byte.
 *
 * What the lines mean and which options there are is told in statsd_lines.c. What differs is what
 * the wrapper takes over: columns and their checks, the sink, the tables, exceptions to statuses.
 */
#include "tallyport_plugin.hpp"

#include "flat_json.h"

#include <charconv>
#include <cmath>

namespace {

namespace plugin = tallyport::plugin;

/* The shortest text of 15 to 17 digits that reads back as the same number. */
std::string text_of(double number) {
    char text[40];
    if (number == 0) number = 0; // -0 would read as a change of a gauge
    for (int digits = 15;; ++digits) {
        const auto end =
            std::to_chars(text, text + sizeof text, number, std::chars_format::general, digits).ptr;
        double back = 0;
        std::from_chars(text, end, back);
        if (digits == 17 || back == number) return std::string(text, end);
    }
}

/* Nothing for a value that StatsD cannot spell. */
std::optional<std::string> text_of(plugin::value value) {
    switch (value.type) {
    case plugin::number::u64:
        return std::to_string(value.u64());
    case plugin::number::i64:
        return std::to_string(value.i64());
    case plugin::number::f64:
        break;
    }
    if (!std::isfinite(value.f64())) return std::nullopt;
    return text_of(value.f64());
}

/* What would end a name, or a tag's key and value. In plain StatsD labels are parts of the name. */
constexpr std::string_view name_ends = ":|@#", label_ends = ":|@#.", tag_ends = ":|#,";

/* Appends text with what would end it replaced, and control characters. */
void append_clean(std::string &out, std::string_view text, std::string_view ends) {
    for (const char c : text) {
        const bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
        out += control || ends.find(c) != ends.npos ? '_' : c;
    }
}

class statsd final : public plugin::exporter {
public:
    static constexpr tallyport_format formats[] = {
        {TALLYPORT_STR("statsd_cpp"), TALLYPORT_STR("text/plain; charset=utf-8")}};
    static constexpr auto about =
        plugin::about("statsd_cpp", "1.0.0")
            .vendor("Example Ltd")
            .description("StatsD lines with DogStatsD tags, in C++")
            .formats(formats)
            .caps(TALLYPORT_CAP_WRITES_SINK | TALLYPORT_CAP_CONCURRENT | TALLYPORT_CAP_OUT_OF_PROC)
            .config_schema(R"({"type":"object","additionalProperties":false,"properties":{)"
                           R"("prefix":{"type":"string","maxLength":255},)"
                           R"("tags":{"type":"boolean"}}})");

    statsd(plugin::host host, std::string_view options_json) : host_(host) {
        flat_json_option options[] = {
            {"prefix", FLAT_JSON_STRING, "", 0, 0},
            {"tags", FLAT_JSON_BOOL, "", 1, 0},
        };
        flat_json json;
        if (!flat_json_read(&json, options_json.data(), options_json.size(), options, 2)) {
            plugin::error error(TALLYPORT_INVALID_ARGUMENT, json.why);
            if (json.key[0] == '\0') throw error;
            throw std::move(error).with("option", json.key);
        }
        append_clean(prefix_, options[0].text, name_ends);
        tags_ = options[1].flag != 0;
    }

    void export_snapshot(const plugin::call &call, const plugin::snapshot &snapshot,
                         plugin::sink &out) override {
        unsigned left_out = 0;
        for (const auto family : snapshot.families()) {
            for (const auto series : family.series()) {
                const bool written = family.kind() == plugin::kind::histogram
                                         ? put_histogram(out, family, series)
                                         : put_value(out, family, series);
                left_out += written ? 0 : 1;
                if (call.is_cancelled())
                    throw plugin::error(TALLYPORT_CANCELLED, "the caller withdrew the call");
            }
        }
        if (left_out != 0)
            host_.log(plugin::log_level::warn,
                      std::to_string(left_out) + " values are not finite and were left out");
    }

private:
    bool put_value(plugin::sink &out, plugin::family family, plugin::series series) const {
        const auto value = text_of(series.value());
        if (!value) return false;
        const bool counter = family.kind() == plugin::kind::counter;
        if (!counter && !tags_ && value->front() == '-')
            put_line(out, family, series, "", {}, "0", "|g");
        put_line(out, family, series, "", {}, *value, counter ? "|c" : "|g");
        return true;
    }

    bool put_histogram(plugin::sink &out, plugin::family family, plugin::series series) const {
        const auto histogram = series.histogram().value();
        const auto bounds = family.bounds();
        put_line(out, family, series, "_count", {}, std::to_string(histogram.count), "|c");
        const auto sum = text_of(series.value());
        if (sum) put_line(out, family, series, "_sum", {}, *sum, "|c");
        uint64_t total = 0;
        for (std::size_t at = 0; at < histogram.buckets.size(); ++at) {
            total += histogram.buckets[at];
            const std::string le = at < bounds.size() ? text_of(bounds[at]) : "+Inf";
            put_line(out, family, series, "_bucket", le, std::to_string(total), "|c");
        }
        return sum.has_value();
    }

    /* One line. `le` is the bound of a bucket, empty for other lines. */
    void put_line(plugin::sink &out, plugin::family family, plugin::series series,
                  std::string_view suffix, std::string_view le, std::string_view value,
                  std::string_view type) const {
        std::string labels;
        const auto add = [&](std::string_view key, std::string_view text) {
            labels += tags_ ? (labels.empty() ? "|#" : ",") : ".";
            append_clean(labels, key, tags_ ? tag_ends : label_ends);
            labels += tags_ ? ':' : '.';
            append_clean(labels, text, tags_ ? tag_ends : label_ends);
        };
        for (const auto label : series.labels()) add(label.name, label.value);
        if (!le.empty()) add("le", le);

        std::string &line = out.buffer();
        line += prefix_;
        append_clean(line, family.name(), name_ends);
        line += suffix;
        if (!tags_) line += labels;
        line.append(1, ':').append(value).append(type);
        if (tags_) line += labels;
        line += '\n';
        out.spill();
    }

    plugin::host host_;
    std::string prefix_;
    bool tags_ = true;
};

} // namespace

TALLYPORT_EXPORT_PLUGINS("com.example.statsd-cpp", "1.0.0", statsd);
