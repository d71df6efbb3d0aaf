/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What tallyport.hpp is built on: errors, results, owned handles. Included by it; it has no use
 * alone. */
#ifndef TALLYPORT_BASE_HPP
#define TALLYPORT_BASE_HPP

#include "tallyport.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

namespace tallyport {

/// Why a call failed.
class error : public std::exception {
public:
    /// Takes a C error; `raw` may be NULL.
    error(tallyport_status code, tallyport_error *raw) : code_(code) {
        const tallyport_str message = tallyport_error_message(raw);
        const tallyport_str field = tallyport_error_field(raw);
        message_ = message.len > 0 ? std::string(message.ptr, message.len)
                                   : std::string(tallyport_status_name(code));
        field_.assign(field.ptr, field.len);
        os_error_ = tallyport_error_os_error(raw);
        tallyport_error_free(raw);
    }

    /// TALLYPORT_*.
    tallyport_status code() const noexcept { return code_; }
    /// What went wrong, which object, what to do.
    const char *what() const noexcept override { return message_.c_str(); }
    /// Argument or configuration key that is wrong; empty where none is.
    const std::string &field() const noexcept { return field_; }
    /// The operating system's error number; 0 where it was not asked.
    int os_error() const noexcept { return os_error_; }

private:
    tallyport_status code_;
    std::int32_t os_error_ = 0;
    std::string message_;
    std::string field_;
};

/// A value, or why there is none; of `void`: done, or why not.
template <class T> class result {
public:
    using value_type = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

    result(value_type value = value_type()) : state_(std::in_place_index<0>, std::move(value)) {}
    result(error why) : state_(std::in_place_index<1>, std::move(why)) {}

    explicit operator bool() const noexcept { return state_.index() == 0; }
    /// The value; only when there is one.
    value_type &operator*() noexcept { return *std::get_if<0>(&state_); }
    value_type *operator->() noexcept { return std::get_if<0>(&state_); }
    /// Why there is no value; only when there is none.
    const error &failure() const noexcept { return *std::get_if<1>(&state_); }

private:
    std::variant<value_type, error> state_;
};

/// What a call returns: `T`, or `result<T>` with TALLYPORT_NO_EXCEPTIONS.
#ifdef TALLYPORT_NO_EXCEPTIONS
template <class T> using returned = result<T>;
#else
template <class T> using returned = T;
#endif

namespace detail {

inline tallyport_str str(std::string_view text) noexcept { return {text.data(), text.size()}; }

inline std::string_view view(tallyport_str text) noexcept {
    return text.len > 0 ? std::string_view(text.ptr, text.len) : std::string_view();
}

/// A time as the C API takes it; one before now is none.
inline std::uint64_t ms(std::chrono::milliseconds time) noexcept {
    return time.count() > 0 ? static_cast<std::uint64_t>(time.count()) : 0;
}

/// Throws what went wrong, or hands it back.
template <class T> returned<T> failed(tallyport_status code, tallyport_error *raw) {
#ifdef TALLYPORT_NO_EXCEPTIONS
    return result<T>(error(code, raw));
#else
    throw error(code, raw);
#endif
}

/// `raw` is a reference, because the call that sets it may stand in the same list of arguments.
inline returned<void> done(tallyport_status code, tallyport_error *const &raw) {
    if (code != TALLYPORT_OK) return failed<void>(code, raw);
    return returned<void>();
}

/// Owns a handle, which `Free` takes. Movable; a moved-from one is NULL.
template <class T, void (*Free)(T *)> class owned {
public:
    owned() = default;
    explicit owned(T *taken) noexcept : handle_(taken) {}

    /// The C handle, which stays this object's.
    T *get() const noexcept { return handle_.get(); }

private:
    struct freed {
        void operator()(T *handle) const noexcept { Free(handle); }
    };
    std::unique_ptr<T, freed> handle_;
};

/// Owns the bytes of a C buffer.
class buffer {
public:
    buffer() = default;
    buffer(const buffer &) = delete;
    buffer &operator=(const buffer &) = delete;
    ~buffer() { tallyport_buf_free(&raw_); }

    tallyport_buf *raw() noexcept { return &raw_; }
    std::string text() const {
        return raw_.len > 0 ? std::string(reinterpret_cast<const char *>(raw_.ptr), raw_.len)
                            : std::string();
    }

private:
    tallyport_buf raw_ = {nullptr, 0, 0};
};

/// A function that C calls back during one call. What it throws stops that call, and is thrown on.
template <class Function> struct told {
    Function *function;
    std::exception_ptr thrown;

    template <class... Argument> std::int32_t call(Argument &&...argument) {
#ifdef TALLYPORT_NO_EXCEPTIONS
        (*function)(std::forward<Argument>(argument)...);
#else
        try {
            (*function)(std::forward<Argument>(argument)...);
        } catch (...) {
            thrown = std::current_exception();
            return 1;
        }
#endif
        return 0;
    }
    /// After the call.
    void rethrow(tallyport_error *err) const {
#ifdef TALLYPORT_NO_EXCEPTIONS
        (void)err;
#else
        if (!thrown) return;
        tallyport_error_free(err);
        std::rethrow_exception(thrown);
#endif
    }
};

/// What a call wrote to a buffer, as a text.
inline returned<std::string> text(tallyport_status code, const buffer &out,
                                  tallyport_error *const &err) {
    if (code != TALLYPORT_OK) return failed<std::string>(code, err);
    return out.text();
}

} // namespace detail

} // namespace tallyport

#endif /* TALLYPORT_BASE_HPP */
