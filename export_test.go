package zapi

// What the tests of package zapi_test need to reach by itself.
var NewTransport = newTransport
