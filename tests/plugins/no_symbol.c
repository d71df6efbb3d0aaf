/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The file describes itself and exports no entry point. */
#include "tallyport_plugin.h"

TALLYPORT_PLUGIN_FILE("com.example.no-symbol", "1.0.0");
