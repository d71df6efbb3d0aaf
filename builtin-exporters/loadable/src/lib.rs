//! The built-in exporters as one loadable library: the same set, behind the same one symbol that
//! a vendor's file has.

tallyport_plugin_api::export_plugin_set!(
    "tallyport.builtin",
    tallyport_builtin_exporters::EXPORTERS
);
