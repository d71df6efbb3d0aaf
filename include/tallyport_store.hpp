/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * tallyport_store.hpp: a store of the host's own for tallyport.hpp's engine. Included by it.
 *
 *     class cache : public tallyport::store { … };
 *     engine.share_through(std::make_shared<cache>());
 *     engine.sync();
 *
 * tallyport_store in tallyport.h says what each function has to do, and on which threads it is called.
 * An exception that leaves one is a failure of it, and its text ends the error of the sync.
 */

#ifndef TALLYPORT_STORE_HPP
#define TALLYPORT_STORE_HPP

#include "tallyport_base.hpp"

#include <chrono>
#include <memory>
#include <optional>

namespace tallyport {

/// What keeps items by key. With TALLYPORT_NO_EXCEPTIONS its functions must not fail.
class store {
public:
    /// An item, and what changes whenever it is written.
    struct item {
        std::string value;
        std::uint64_t token = 0;
    };
    using time = std::chrono::milliseconds;

    virtual ~store() = default;

    /// What it is, for people.
    virtual std::string name() const { return {}; }
    /// Most bytes of a value; 0: 1 MiB.
    virtual std::uint64_t max_item_bytes() const { return 0; }
    /// Whether `cas` does what it says.
    virtual bool has_cas() const { return false; }

    /// Nothing when there is no such item: never when it could not be looked for.
    virtual std::optional<item> get(std::string_view key) = 0;
    virtual void set(std::string_view key, std::string_view value, time ttl) = 0;
    /// False when there is such an item.
    virtual bool add(std::string_view key, std::string_view value, time ttl) = 0;
    /// False when the item is not as it was read with that token.
    virtual bool cas(std::string_view, std::string_view, time, std::uint64_t) { return false; }
    virtual void remove(std::string_view key) = 0;
};

namespace detail {

/// The functions of the C API over a store that they own.
struct store_functions {
    using owner = std::shared_ptr<store>;

    static store &of(void *data) noexcept { return **static_cast<owner *>(data); }
    static void free(void *data) { delete static_cast<owner *>(data); }

    template <class Act> static std::int32_t call(tallyport_store_call *running, Act act) {
#ifdef TALLYPORT_NO_EXCEPTIONS
        (void)running;
        return act() ? TALLYPORT_STORE_DONE : TALLYPORT_STORE_NOT_DONE;
#else
        try {
            return act() ? TALLYPORT_STORE_DONE : TALLYPORT_STORE_NOT_DONE;
        } catch (const std::exception &why) {
            tallyport_store_call_fail(running, str(why.what()), nullptr);
        } catch (...) {
            tallyport_store_call_fail(running, str("an exception"), nullptr);
        }
        return -1;
#endif
    }

    static store::time time(std::uint64_t ttl_ms) {
        const auto most = static_cast<std::uint64_t>(store::time::max().count());
        return store::time(static_cast<store::time::rep>(ttl_ms < most ? ttl_ms : most));
    }

    static std::int32_t get(void *data, tallyport_store_call *running, tallyport_str key) {
        return call(running, [&] {
            const std::optional<store::item> found = of(data).get(view(key));
            if (found)
                tallyport_store_call_value(running, str(found->value), found->token, nullptr);
            return found.has_value();
        });
    }
    static std::int32_t set(void *data, tallyport_store_call *running, tallyport_str key,
                            tallyport_str value, std::uint64_t ttl_ms) {
        return call(running, [&] {
            of(data).set(view(key), view(value), time(ttl_ms));
            return true;
        });
    }
    static std::int32_t add(void *data, tallyport_store_call *running, tallyport_str key,
                            tallyport_str value, std::uint64_t ttl_ms) {
        return call(running, [&] { return of(data).add(view(key), view(value), time(ttl_ms)); });
    }
    static std::int32_t cas(void *data, tallyport_store_call *running, tallyport_str key,
                            tallyport_str value, std::uint64_t ttl_ms, std::uint64_t token) {
        return call(running,
                    [&] { return of(data).cas(view(key), view(value), time(ttl_ms), token); });
    }
    static std::int32_t remove(void *data, tallyport_store_call *running, tallyport_str key) {
        return call(running, [&] {
            of(data).remove(view(key));
            return true;
        });
    }
};

inline returned<void> attach(tallyport_engine *engine, std::shared_ptr<store> given) {
    const std::string name = given->name();
    tallyport_store raw = {};
    raw.size = sizeof raw;
    raw.name = str(name);
    raw.max_item_bytes = given->max_item_bytes();
    raw.get = store_functions::get;
    raw.set = store_functions::set;
    raw.add = store_functions::add;
    raw.cas = given->has_cas() ? store_functions::cas : nullptr;
    raw.remove = store_functions::remove;
    raw.free_data = store_functions::free;
    raw.data = new std::shared_ptr<store>(std::move(given));
    tallyport_error *err = nullptr;
    return done(tallyport_store_attach(engine, &raw, &err), err);
}

} // namespace detail

} // namespace tallyport

#endif /* TALLYPORT_STORE_HPP */
