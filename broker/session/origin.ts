/** Which pages may connect; the same ones may use HTTP. */
export { type OriginPolicy, originFault } from '../config/origin.js'
