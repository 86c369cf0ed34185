import { afterAll, afterEach } from 'vitest'
import { reachEndOf } from './ends.js'

afterEach(() => reachEndOf('test'))
afterAll(() => reachEndOf('file'))
