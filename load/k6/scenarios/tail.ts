import { load } from '../runtime/load.js'

export const { options, produce, read, work, connect } = load('tail')
