/** `millrace/broker`: a broker inside your own process. */
export { type Broker, startBroker } from './broker.js'
export type { BrokerConfig, BrokerOptions, LogLevel } from './config/schema.js'
export type { RecoveryReport } from './shard/recover.js'
