module example.com/tallyport/statsd

go 1.18
