/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Recording from Ruby without ffi: a series is an object with its handle in it, and the methods that
 * are called most are C. Everything else, and every argument that is not the usual one, is left to
 * the Ruby methods (increase, with_labels).
 *
 * The functions of libtallyport come as addresses from lib/tallyport/extension.rb, so that this needs
 * no header and no library to be built, and uses the library that ffi opened. A Ruby object of this
 * type is never followed into the library: a handle is a number, checked there.
 */
#include <ruby.h>
#include <stdint.h>

typedef void (*add_u64)(uint64_t handle, uint64_t amount);
typedef void (*with_f64)(uint64_t handle, double value);

/* In the order of Tallyport::Extension::FUNCTIONS. */
static struct {
    add_u64 counter_add;
    with_f64 gauge_set;
    with_f64 histogram_observe;
} call;

enum { FUNCTION_COUNT = sizeof call / sizeof(void (*)(void)) };

typedef struct {
    uint64_t handle;
} series;

static ID id_increase, id_with_labels, id_labels_of, id_set, id_observe;

static const rb_data_type_t series_type = {
    .wrap_struct_name = "Tallyport::Series",
    .function = {.dfree = RUBY_TYPED_DEFAULT_FREE},
    .flags = RUBY_TYPED_FREE_IMMEDIATELY,
};

static VALUE series_alloc(VALUE class) {
    series *made;
    return TypedData_Make_Struct(class, series, &series_type, made);
}

static series *series_of(VALUE self) {
    return rb_check_typeddata(self, &series_type);
}

static VALUE series_handle(VALUE self) { return ULL2NUM(series_of(self)->handle); }

static VALUE series_set_handle(VALUE self, VALUE number) {
    series_of(self)->handle = NUM2ULL(number);
    return number;
}

static VALUE counter_increment(int argc, VALUE *argv, VALUE self) {
    rb_check_arity(argc, 0, 1);
    if (argc == 0) {
        call.counter_add(series_of(self)->handle, 1);
        return Qnil;
    }
    if (FIXNUM_P(argv[0]) && FIX2LONG(argv[0]) >= 0) {
        call.counter_add(series_of(self)->handle, (uint64_t)FIX2LONG(argv[0]));
        return Qnil;
    }
    return rb_funcallv(self, id_increase, 1, argv);
}

static VALUE gauge_set(int argc, VALUE *argv, VALUE self) {
    rb_check_arity(argc, 1, 2);
    if (argc == 2 && !NIL_P(argv[1])) {
        VALUE labels = rb_funcallv(self, id_labels_of, 1, argv + 1);
        return rb_funcallv(rb_funcallv(self, id_with_labels, 1, &labels), id_set, 1, argv);
    }
    call.gauge_set(series_of(self)->handle, NUM2DBL(argv[0]));
    return Qnil;
}

static VALUE histogram_observe(int argc, VALUE *argv, VALUE self) {
    rb_check_arity(argc, 1, 2);
    if (argc == 2 && !NIL_P(argv[1])) {
        VALUE labels = rb_funcallv(self, id_labels_of, 1, argv + 1);
        return rb_funcallv(rb_funcallv(self, id_with_labels, 1, &labels), id_observe, 1, argv);
    }
    call.histogram_observe(series_of(self)->handle, NUM2DBL(argv[0]));
    return Qnil;
}

static const char *const kinds[] = {"Counter", "FloatCounter", "UpDownCounter",
                                    "FloatUpDownCounter", "Gauge", "Histogram"};

static VALUE extension_bind(VALUE self, VALUE addresses) {
    void (**functions)(void) = (void (**)(void)) & call;
    Check_Type(addresses, T_ARRAY);
    if (RARRAY_LEN(addresses) != FUNCTION_COUNT) {
        rb_raise(rb_eArgError, "the extension is of another version: build it anew");
    }
    for (int i = 0; i < FUNCTION_COUNT; i++) {
        functions[i] = (void (*)(void))(uintptr_t)NUM2ULL(rb_ary_entry(addresses, i));
    }

    VALUE module = rb_const_get(rb_cObject, rb_intern("Tallyport"));
    VALUE base = rb_const_get(module, rb_intern("Series"));
    /* Before the first object is made. A subclass has a copy of the function. */
    rb_define_alloc_func(base, series_alloc);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        rb_define_alloc_func(rb_const_get(module, rb_intern(kinds[i])), series_alloc);
    }
    rb_define_method(base, "handle", series_handle, 0);
    rb_define_private_method(base, "handle=", series_set_handle, 1);
    rb_define_method(rb_const_get(module, rb_intern("Counter")), "increment", counter_increment, -1);
    rb_define_method(rb_const_get(module, rb_intern("Gauge")), "set", gauge_set, -1);
    rb_define_method(rb_const_get(module, rb_intern("Histogram")), "observe", histogram_observe, -1);
    return Qnil;
}

RUBY_FUNC_EXPORTED void Init_tallyport_ext(void);
void Init_tallyport_ext(void) {
    id_increase = rb_intern("increase");
    id_with_labels = rb_intern("with_labels");
    id_labels_of = rb_intern("labels_of");
    id_set = rb_intern("set");
    id_observe = rb_intern("observe");
    VALUE module = rb_const_get(rb_cObject, rb_intern("Tallyport"));
    VALUE extension = rb_const_get(module, rb_intern("Extension"));
    rb_define_singleton_method(extension, "bind", extension_bind, 1);
}
