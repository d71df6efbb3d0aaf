/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* No plugin: the library of needs_library.c. WORD is what it says. */
#ifndef WORD
#define WORD "needed"
#endif

const char *needed_word(void);

const char *needed_word(void) { return WORD; }
