/** `millrace/testing`: a broker inside your tests, which they may crash, hurry and make refuse. */
export { ManualClock, type ManualClockOptions } from './manual-clock.js'
export type { BrokerErrorCode, FailOptions, RequestFault, RequestName, WriteName } from './request-faults.js'
export { TestBroker, type TestBrokerOptions, testBroker } from './test-broker.js'
export { TestBrokerError, type TestBrokerErrorCode } from './test-broker-error.js'
