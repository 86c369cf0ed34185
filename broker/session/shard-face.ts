/** The shard as sessions know it; HTTP routes know the same. */
export type * from '../shard/shard-face.js'
