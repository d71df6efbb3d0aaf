//! The files by which compilers find an installation: pkg-config and CMake.

use super::plan::{Layout, SOVERSION, STATIC_LIBS, VERSION};

const ABOUT: &str = "An embeddable metrics engine with exporters as shared libraries";

/// `tallyport.pc`, and `tallyport-static.pc` for hosts that take the archive.
pub(super) fn pkg_config(layout: &Layout) -> Vec<(&'static str, String)> {
    let Layout { prefix, libdir } = layout;
    let private: Vec<String> = STATIC_LIBS.iter().map(|lib| format!("-l{lib}")).collect();
    let private = private.join(" ");
    let head = |name: &str| {
        format!(
            "prefix={prefix}\n\
             exec_prefix=${{prefix}}\n\
             libdir=${{exec_prefix}}/{libdir}\n\
             includedir=${{prefix}}/include\n\
             pluginsdir=${{prefix}}/lib/tallyport/plugins\n\
             \n\
             Name: {name}\n\
             Description: {ABOUT}\n\
             Version: {VERSION}\n\
             Cflags: -I${{includedir}}\n"
        )
    };
    vec![
        (
            "tallyport.pc",
            head("tallyport")
                + &format!("Libs: -L${{libdir}} -ltallyport\nLibs.private: {private}\n"),
        ),
        (
            "tallyport-static.pc",
            head("tallyport-static")
                + &format!("Libs: -L${{libdir}} -l:libtallyport.a {private}\n"),
        ),
    ]
}

/// `find_package(tallyport)`: the targets, and which versions serve which.
pub(super) fn cmake(layout: &Layout) -> Vec<(&'static str, String)> {
    let libdir = &layout.libdir;
    // From LIBDIR/cmake/tallyport to the prefix.
    let up = "../".repeat(libdir.split('/').count() + 2);
    let up = up.trim_end_matches('/');
    let private = STATIC_LIBS.join(";");
    let config = CONFIG
        .replace("@UP@", up)
        .replace("@LIBDIR@", libdir)
        .replace("@REAL@", &format!("libtallyport.so.{SOVERSION}.{VERSION}"))
        .replace("@SONAME@", &format!("libtallyport.so.{SOVERSION}"))
        .replace("@PRIVATE@", &private);
    let version = CONFIG_VERSION.replace("@VERSION@", VERSION);
    vec![("tallyport-config.cmake", config), ("tallyport-config-version.cmake", version)]
}

const CONFIG: &str = r#"# find_package(tallyport): tallyport::tallyport is the shared library, tallyport::static the archive.
# Found from where this file lies, so the folder may be moved.

get_filename_component(_tallyport_here "${CMAKE_CURRENT_LIST_DIR}" REALPATH)
get_filename_component(_tallyport_prefix "${_tallyport_here}/@UP@" ABSOLUTE)
set(tallyport_INCLUDE_DIR "${_tallyport_prefix}/include")
set(tallyport_PLUGIN_DIR "${_tallyport_prefix}/lib/tallyport/plugins")

foreach(_tallyport_file IN ITEMS include/tallyport.h @LIBDIR@/@REAL@ @LIBDIR@/libtallyport.a)
  if(NOT EXISTS "${_tallyport_prefix}/${_tallyport_file}")
    set(tallyport_FOUND FALSE)
    set(tallyport_NOT_FOUND_MESSAGE "${_tallyport_prefix}/${_tallyport_file} is missing: install Tallyport again")
    return()
  endif()
endforeach()

if(NOT TARGET tallyport::tallyport)
  add_library(tallyport::tallyport SHARED IMPORTED)
  set_target_properties(tallyport::tallyport PROPERTIES
    IMPORTED_LOCATION "${_tallyport_prefix}/@LIBDIR@/@REAL@"
    IMPORTED_SONAME "@SONAME@"
    INTERFACE_INCLUDE_DIRECTORIES "${tallyport_INCLUDE_DIR}")
endif()

if(NOT TARGET tallyport::static)
  add_library(tallyport::static STATIC IMPORTED)
  set_target_properties(tallyport::static PROPERTIES
    IMPORTED_LOCATION "${_tallyport_prefix}/@LIBDIR@/libtallyport.a"
    INTERFACE_LINK_LIBRARIES "@PRIVATE@"
    INTERFACE_INCLUDE_DIRECTORIES "${tallyport_INCLUDE_DIR}")
endif()

unset(_tallyport_here)
unset(_tallyport_prefix)
unset(_tallyport_file)
"#;

const CONFIG_VERSION: &str = r#"# Until 1.0 a minor may break (CHANGELOG.md): another one does not serve. From 1.0 on a later one does.
set(PACKAGE_VERSION "@VERSION@")
set(PACKAGE_VERSION_COMPATIBLE FALSE)
set(PACKAGE_VERSION_EXACT FALSE)
if(NOT CMAKE_SIZEOF_VOID_P STREQUAL "" AND NOT CMAKE_SIZEOF_VOID_P EQUAL 8)
  set(PACKAGE_VERSION_UNSUITABLE TRUE)
  set(PACKAGE_VERSION "@VERSION@ (64-bit)")
  return()
endif()
string(REGEX MATCH "^([0-9]+)\\.([0-9]+)" _tallyport_own "${PACKAGE_VERSION}")
set(_tallyport_major "${CMAKE_MATCH_1}")
set(_tallyport_minor "${CMAKE_MATCH_2}")
if(PACKAGE_FIND_VERSION VERSION_EQUAL PACKAGE_VERSION)
  set(PACKAGE_VERSION_EXACT TRUE)
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
elseif(PACKAGE_FIND_VERSION VERSION_LESS PACKAGE_VERSION
       AND PACKAGE_FIND_VERSION_MAJOR STREQUAL "${_tallyport_major}")
  if(_tallyport_major GREATER 0 OR PACKAGE_FIND_VERSION_COUNT LESS 2
     OR PACKAGE_FIND_VERSION_MINOR STREQUAL "${_tallyport_minor}")
    set(PACKAGE_VERSION_COMPATIBLE TRUE)
  endif()
endif()
unset(_tallyport_own)
unset(_tallyport_major)
unset(_tallyport_minor)
"#;
